"""Faces by the latent search, guided by 100 marks a side or by a network, by `auto` and by the paper's direction.

    UNFEATURE_ASSETS=../shared/assets python benchmarks/searched.py --teachers

face_vae64: Bangs, Smiling, Male, marked by network a, which also guides where a network does and tells the search what
to keep; judged by network b, which no finder has seen. The probe of the marks looks at pixels alone: with SqueezeNet's
texture its AUC by network b was 0.939 instead of 0.942 for Bangs, 0.874 instead of 0.841 for Smiling, at 100 times
the cost. `auto` chooses among searches and directions from the same marks. The paper's direction has the gentlest
threshold and margin of a preview that leave no more than the search from marks does. Teachers, and unless --teachers is
given copies by --preset counterfactual, on 10,000 seeds that chose nothing.
"Edited": the way flags it; "never had it": network b does not find the feature in the original. Flips are the mean over
the other 39 attributes. Writes benchmarks/results/searched.json and .md.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch
from bars import MARGINS, OFFSETS
from tabulated import interval, merged
from torch import Tensor

from unfeature import options as o
from unfeature import workflow
from unfeature.artifacts import Score
from unfeature.drawing import batches, made
from unfeature.intervals import mean_interval
from unfeature.judging import load_judge
from unfeature.protocols import AttributeJudge
from unfeature.seeds import stream
from unfeature.store import Run
from unfeature.workflow import inputs, read_options

HERE = Path(__file__).parent
RESULTS, CELEBA = HERE / "results", f"{HERE / 'judges/celeba.py'}:"
FEATURES, WAYS = ("Bangs", "Smiling", "Male"), ("marks", "auto", "network", "direction")
MARKS, GALLERY, PREVIEWED = 100, 12_000, 4000
COLUMNS = ("edited", "never_had", "untouched")


def find(folder: Path, feature: str, way: str, wanted: float) -> None:
    """The feature by one of the ways; `wanted` is the ratio a direction has to reach."""
    keep = (f"rest={CELEBA}a_{feature}",)
    preset = "auto" if way == "auto" else "counterfactual"
    searched = read_options(base=preset).find.model_copy(update={"extractor": ""})
    if way != "direction":
        guide = f"{CELEBA}a_{feature}" if way == "network" else ""
        workflow.find(folder, searched.model_copy(update={"keep": keep, "guide": guide}))
        return
    pooled = float(workflow.find(folder).threshold)  # type: ignore[attr-defined]
    grid = o.PreviewOptions(
        count=PREVIEWED, extractor="", thresholds=tuple(pooled + x for x in OFFSETS), margins=MARGINS
    )
    tried = workflow.preview(folder, grid)[1:]
    reaching = [p for p in tried if p.ratio is not None and p.ratio.value <= wanted]
    taken = min(reaching or tried, key=lambda p: p.drift_rest.value if reaching else p.ratio.value)  # type: ignore[union-attr]
    workflow.find(folder, o.FindOptions(threshold=taken.threshold, margin=taken.margin))


def run(folder: Path, feature: str, way: str, count: int, wanted: float, copies: bool) -> dict[str, Any]:
    """The run from gallery to teacher, and to the copy where it is wanted; its figures."""
    if not (folder / "found.json").is_file():
        workflow.sample(folder, f"{HERE / 'generators/face_vae64.py'}:load", o.SampleOptions(count=GALLERY))
        workflow.mark(folder, feature, f"{CELEBA}a_{feature}", o.MarkOptions(per_side=MARKS), f"{CELEBA}b_{feature}")
        began = time.monotonic()
        find(folder, feature, way, wanted)
        (folder / "found.json").write_text(json.dumps(time.monotonic() - began))
    if copies and not (folder / "unlearned.safetensors").is_file():
        workflow.preview(folder, o.PreviewOptions(extractor=""))
        base = {"direction": "paper", "auto": "auto"}.get(way, "counterfactual")
        workflow.unlearn(folder, read_options(base=base).unlearn)
    told = {"feature": feature, "way": way, "marks": MARKS, "found": json.loads((folder / "found.json").read_text())}
    return told | figures(folder, feature, count, copies)


@torch.no_grad()
def figures(folder: Path, feature: str, count: int, copies: bool) -> dict[str, Any]:
    """Ratio, attributes turned and drift, of the teacher and of the copy."""
    original, about = inputs.the_generator(Run(folder))
    found, _ = inputs.the_feature(Run(folder), original)
    copy = inputs.the_unlearned(Run(folder), original)[0] if copies else None
    judge = load_judge(f"{CELEBA}b_{feature}", original, about.seed, 0.5)
    assert isinstance(judge, AttributeJudge)
    others = [i for i, name in enumerate(judge.attributes) if name != feature]
    seen: dict[str, list[Tensor]] = {}

    def keep(name: str, value: Tensor) -> None:
        seen.setdefault(name, []).append(value.double())

    for latents, images in batches(original, stream("evaluate", about.seed, 0, count)):
        before, flagged = judge.attribute_scores(images)[:, others] >= 0.5, found.contains(latents)
        keep("had", judge.score(images) >= 0.5)
        keep("edited", flagged)
        for side, model, z in (("teacher", original, found.erase(latents)), ("copy", copy, latents)):
            if model is None:
                continue
            after = made(model, z)
            keep(f"{side} ratio", judge.score(after) >= 0.5)
            keep(f"{side} flips", ((judge.attribute_scores(after)[:, others] >= 0.5) != before).double().mean(dim=1))
            keep(f"{side} drift", (after - images).abs().mean(dim=(1, 2, 3)))
    return summed({name: torch.cat(parts) for name, parts in seen.items()})


def summed(seen: dict[str, Tensor]) -> dict[str, Any]:
    """Shares and means with their intervals, by group of pictures."""
    had, edited = seen["had"].bool(), seen["edited"].bool()
    groups = {"edited": edited, "never_had": ~had, "untouched": ~had & ~edited}
    told: dict[str, Any] = {"before": share(had), "flagged": float(edited.double().mean())}
    for side in ("teacher", "copy"):
        if f"{side} ratio" not in seen:
            continue
        told[side] = {"ratio": share(seen[f"{side} ratio"].bool())}
        for what, (name, group) in product(("flips", "drift"), groups.items()):
            values = seen[f"{side} {what}"][group]
            mean, low, high = mean_interval(values.tolist())
            told[side][f"{what}_{name}"] = Score(what, mean, low, high, len(values)).to_json()
    return told


def share(mask: Tensor) -> dict[str, Any]:
    """With its interval."""
    return Score.share("target_ratio", int(mask.sum()), len(mask)).to_json()


def write(made_now: list[dict[str, Any]]) -> None:
    """Both result files, rows made anew in place of older ones; nothing in them is typed by hand."""
    path = RESULTS / "searched.json"
    order = {name: i for i, name in enumerate((*FEATURES, *WAYS))}
    rows = merged(path, made_now, ("feature", "way"))
    rows = sorted(rows, key=lambda row: (order[row["feature"]], order[row["way"]]))
    path.write_text(json.dumps({"versions": workflow.versions(), "rows": rows}, indent=1) + "\n")
    names = ["ratio", *(f"{what}_{group}" for what in ("flips", "drift") for group in COLUMNS)]
    columns = ["feature", "way", "marks a side", "before", "flagged"]
    columns += [f"{name.replace('_', ', ')}, {side}" for side in ("teacher", "copy") for name in names]
    lines = [columns, ["---"] * len(columns)]
    for row in rows:
        cells = [row.get(side, {}).get(name) for side in ("teacher", "copy") for name in names]
        told = [interval(cell) if cell else "" for cell in cells]
        lines.append(
            [row["feature"], row["way"], str(row["marks"]), interval(row["before"]), f"{row['flagged']:.3f}", *told]
        )
    (RESULTS / "searched.md").write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))


def main() -> None:
    """Every case in turn, the results written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", nargs="+", choices=FEATURES, default=FEATURES)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--count", type=int, default=10_000, help="fresh samples a row")
    parser.add_argument("--teachers", action="store_true", help="measure the teachers alone: no copy is trained")
    parser.add_argument("--runs", type=Path, default=Path("runs/searched"))
    a = parser.parse_args()
    for feature in a.features:
        reached = 0.01
        for way in a.ways:
            row = run(a.runs / f"{feature}-{way}", feature, way, a.count, reached, not a.teachers)
            reached = row["teacher"]["ratio"]["value"] if way == "marks" else reached
            print(json.dumps(row), flush=True)
            write([row])


if __name__ == "__main__":
    main()
