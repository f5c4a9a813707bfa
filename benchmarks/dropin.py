"""A checkpoint in, a checkpoint out, and the user's own code takes it.

    UNFEATURE_ASSETS=../shared/assets python benchmarks/dropin.py

Three public generators, each in another kind of file: safetensors with the encoder beside; a training checkpoint with
two networks, wrapped in DataParallel; a Lightning-like one in half precision. Each is unlearned and exported in the
format it came in. Then benchmarks/stranger.py, which knows nothing of unfeature, draws from both files.
Writes benchmarks/results/dropin.json, .md and dropin-NAME.png.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from tabulated import interval, merged

from unfeature import options as o
from unfeature import workflow
from unfeature.artifacts import Score

HERE = Path(__file__).parent
RESULTS = HERE / "results"


@dataclass(frozen=True)
class Case:
    """What is removed from which generator, and by whose marks."""

    generator: str
    feature: str
    by: str
    suffix: str
    judge: str = ""
    find: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


CASES = {
    case.generator: case
    for case in (
        Case("mnist_vae20", "thickness", "thickness", "ckpt", find={"margin": 0.5}),
        Case(
            "face_gan36",
            "orange",
            str(HERE / "marks/face_gan36-orange.csv"),
            "pth",
            f"{HERE}/judges/gan36.py:orange",
            find={"threshold": -1.0, "margin": 1.0},
            training={"batch": 32, "steps": 600},
        ),
        Case("face_vae64", "Bangs", f"{HERE}/judges/celeba.py:a_Bangs", "safetensors", find={"margin": 0.5}),
    )
}


def users_file(case: Case, folder: Path) -> Path:
    """The public weights in a file as that model's users have it."""
    public = Path(os.environ["UNFEATURE_ASSETS"], f"generators/{case.generator}.safetensors")
    path, weights = folder / f"{case.generator}.{case.suffix}", safetensors.torch.load_file(public)
    if case.suffix == "safetensors":
        path.write_bytes(public.read_bytes())
    elif case.suffix == "pth":
        whole = {"generator": {f"module.{name}": value for name, value in weights.items()}, "epoch": 80}
        torch.save(whole | {"discriminator": {"module.fc.weight": torch.ones(1, 9)}}, path)
    else:
        half = {f"model.{name}": value.half() for name, value in weights.items()}
        torch.save({"state_dict": half, "hyper_parameters": {"latent": 20}, "global_step": 9}, path)
    return path


def one(case: Case, folder: Path, steps: int) -> dict[str, Any]:
    """Unlearn, export, and let the stranger draw from both files."""
    run, file = folder / "run", users_file(case, folder)
    adapter = f"{HERE / 'generators' / case.generator}.py:load"
    workflow.sample(run, adapter, o.SampleOptions(), weights=str(file))
    workflow.mark(run, case.feature, case.by, judge=case.judge)
    workflow.find(run, o.FindOptions(**case.find))
    extractor = "mnist-gradients" if case.suffix == "ckpt" else "squeezenet"
    workflow.preview(run, o.PreviewOptions(extractor=extractor, count=500))
    workflow.unlearn(run, o.UnlearnOptions(**{"steps": steps} | case.training))
    made = workflow.export(run, folder / f"{case.generator}-unlearned.{case.suffix}")
    sheet = folder / "sheet.png"
    command = [sys.executable, str(HERE / "stranger.py"), case.generator, str(file), str(made.file), str(sheet)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ratios = {side: Score.share("target_ratio", told[side], told["of"]).to_json() for side in ("before", "after")}
    return {"generator": case.generator, "feature": case.feature, "file": file.suffix, **ratios, "sheet": sheet}


def write(made: list[dict[str, Any]]) -> None:
    """All result files, rows made anew in place of older ones; nothing in them is typed by hand."""
    RESULTS.mkdir(exist_ok=True)
    for row in made:
        (RESULTS / f"dropin-{row['generator']}.png").write_bytes(row.pop("sheet").read_bytes())
    path = RESULTS / "dropin.json"
    rows = merged(path, made, ("generator",))
    told = {"versions": workflow.versions(), "rows": rows}
    path.write_text(json.dumps(told, indent=1) + "\n")
    lines = ["| generator | feature | file | before | after | n |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        before, after = row["before"], row["after"]
        cells = row["generator"], row["feature"], row["file"], interval(before), interval(after), str(before["n"])
        lines.append(f"| {' | '.join(cells)} |")
    (RESULTS / "dropin.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """All three, or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(CASES), help="this one alone")
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for name, case in CASES.items():
            if arguments.only in (None, name):
                (Path(folder) / name).mkdir()
                rows.append(one(case, Path(folder) / name, arguments.steps))
                print(json.dumps(rows[-1], default=str), flush=True)
        write(rows)


if __name__ == "__main__":
    main()
