"""The whole job from one set of options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unfeature.artifacts import Preview, StepRecord
from unfeature.options import RunOptions
from unfeature.store import Run
from unfeature.workflow.attacking import attack
from unfeature.workflow.finding import find
from unfeature.workflow.inputs import the_control, the_extractor, the_generator
from unfeature.workflow.marking import mark, sample
from unfeature.workflow.proving import evaluate, report
from unfeature.workflow.training import preview, unlearn


def run(
    folder: str | Path,
    options: RunOptions,
    *,
    on_verb: Callable[[str], None] = lambda verb: None,
    on_note: Callable[[str], None] = lambda note: None,
    on_preview: Callable[[Preview, float], None] = lambda preview, wanted: None,
    on_step: Callable[[StepRecord], None] = lambda record: None,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Every verb in turn; given again after an interruption it goes on, to the same bytes. The report's paths."""
    on_verb("sample")
    sample(folder, options.generator, options.sample, options.weights, options.arguments, on_note)
    _check_needed(Path(folder), options)
    on_verb("mark")
    mark(folder, options.feature, options.marks, options.mark, options.judge)
    on_verb("find")
    others = tuple(str(_other(Path(folder), options, name, on_batch, on_note)) for name in options.also)
    find(folder, options.find.model_copy(update={"also": (*options.find.also, *others)}), on_batch, on_note)
    on_verb("preview")
    preview(folder, options.preview)
    on_verb("unlearn")
    unlearn(folder, options.unlearn, on_preview, on_step)
    on_verb("evaluate")
    evaluate(folder, options.evaluate, on_batch)
    if options.attack is not None:
        on_verb("attack")
        attack(folder, options.attack, on_batch, on_note)
    on_verb("report")
    return report(folder)


def _check_needed(folder: Path, options: RunOptions) -> None:
    """Before hours of training: whether extractor and controls that it is measured with are there.

    BadCheckpoint, BadFile, BadOption, ShapeError.
    """
    generator, about = the_generator(Run(folder))
    the_extractor(options.evaluate.extractor, generator)
    asked = {options.evaluate.control, options.attack.control if options.attack is not None else ""} - {""}
    for weights in sorted(asked):
        the_control(about, generator, weights)


def _other(
    folder: Path,
    options: RunOptions,
    name: str,
    on_batch: Callable[[int, int], None],
    on_note: Callable[[str], None],
) -> Path:
    """Another feature of the same generator, marked and found in a run folder of its own inside; that folder."""
    inside, other = folder / "also" / name, options.also[name]
    sample(inside, options.generator, options.sample, options.weights, options.arguments, on_note)
    mark(inside, name, other.marks or name, other.mark, other.judge)
    find(inside, other.find, on_batch, on_note)
    return inside
