"""One of several features that were unlearned one after the other brought back: weight arithmetic, so approximate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from unfeature.artifacts import Score
from unfeature.drawing import batches
from unfeature.errors import BadFile, BadOption
from unfeature.generators.exporting import check_ending
from unfeature.generators.filling import check_finite
from unfeature.generators.loading import checkpoint_bytes
from unfeature.protocols import Generator, Judge
from unfeature.seeds import stream
from unfeature.store import Run, write_atomic
from unfeature.workflow.inputs import Request, the_feature, the_generator, the_judge, the_unlearned
from unfeature.workflow.others import the_others

MEASURED = 2000
"""Fresh samples of each generator that the judges look at."""


@dataclass(frozen=True)
class Ratio:
    """How often one of the features is there."""

    feature: str
    before: Score
    """In the generator that the earlier run began with."""
    both: Score
    """With everything unlearned."""
    reverted: Score
    """In the checkpoint written."""


@dataclass(frozen=True)
class Reverted:
    """What was written, and what the judges of the last run find; nothing for features that nobody judges."""

    file: Path
    ratios: tuple[Ratio, ...]
    code: str
    """The generator whose code reads the file; empty where the file says how."""


def without_change(
    after: Mapping[str, Tensor], begun: Mapping[str, Tensor], ended: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """after - (ended - begun) of every floating-point tensor, summed in float64; counters as in `after`.

    Task arithmetic (Ilharco et al. 2023): exact where nothing was trained in between, else what the later training did
    to suit the earlier one stays.
    """
    return {
        name: (value.double() - (ended[name].double() - begun[name].double())).to(value.dtype)
        if value.is_floating_point()
        else value.clone()
        for name, value in after.items()
    }


def revert(folder: str | Path, of: str | Path, to: str | Path) -> Reverted:
    """Subtract from `folder`'s unlearned weights what the earlier run `of` changed; writes a checkpoint to `to`.

    Nothing is overwritten. BadOption where `folder` does not go on after `of`, BadFile where `to` is there.
    """
    run, earlier, to = Run(Path(folder)), Run(Path(of)), Path(to)
    with run.held():
        generator, about = the_generator(run)
        student, _ = the_unlearned(run, generator)
        first, _ = the_generator(earlier)
        second, _ = the_unlearned(earlier, first)
        if second.spec.id not in {other.result for other in about.after}:
            raise BadOption(
                f"{folder} does not go on after {of}; expected a run begun with  unfeature sample RUN --after {of}. "
                "The last run of a sequence goes back exactly:  unfeature apply DIFF CHECKPOINT --to FILE --revert"
            )
        if to.exists():
            raise BadFile(f"{to} is there already; expected a new name. Name another, or move that file away.")
        check_ending(to, "safetensors")
        made = student.copy()
        weights = (one.module.state_dict() for one in (student, first, second))
        made.module.load_state_dict(without_change(*weights))
        check_finite(str(to), made.module)
        facts = the_feature(run, generator)[1]
        asked, judge = run.read_as("request.json", Request), the_judge(run, generator, about.seed)
        judges = {asked.feature: judge} if judge is not None else {}
        others = the_others(run, generator, about, facts, taken=judges)
        judges |= {name: judge for name, (_, judge) in others.items()}
        ratios = _ratios(judges, (first, student, made), about.seed)
        told = {"unlearned": facts["name"], "reverted": earlier.read_as("request.json", Request).feature}
        write_atomic(to, checkpoint_bytes(made, told | {"from": generator.spec.id}))
    return Reverted(to, ratios, "" if getattr(made, "origin", {}) else about.generator)


def _ratios(judges: Mapping[str, Judge], generators: tuple[Generator, ...], seed: int) -> tuple[Ratio, ...]:
    """Of the generator at first, with everything unlearned, and with one feature back."""
    shown = {name: [0] * len(generators) for name in judges}
    for place, generator in enumerate(generators if judges else ()):
        for _, images in batches(generator, stream("revert", seed, 0, MEASURED)):
            for name, judge in judges.items():
                shown[name][place] += int((judge.score(images) >= 0.5).sum())
    return tuple(
        Ratio(name, *(Score.share("target_ratio", count, MEASURED) for count in counts))
        for name, counts in shown.items()
    )
