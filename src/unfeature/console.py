"""What the command line shows: progress with time left, tables, what was written and what comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from unfeature.devices import leads
from unfeature.flags import flags

if TYPE_CHECKING:
    from unfeature.artifacts import Attacks, Evaluation, Preview, Score, StepRecord
    from unfeature.assets import Asset, State
    from unfeature.testing import Finding
    from unfeature.workflow.checking import Facts

PATIENCE = 2 * 3600
"""Seconds of training beyond which a quicker way is named."""

_out = Console(highlight=False, soft_wrap=True, quiet=not leads())
_err = Console(stderr=True, highlight=False, quiet=not leads())


def say(text: str) -> None:
    """A line, as it is."""
    _out.print(text, markup=False)


def wrote(run: Path, *names: str) -> None:
    """What a command wrote."""
    say("wrote " + ", ".join(str(run / name) for name in names))


def then(why: str, command: str) -> None:
    """The next command to run."""
    say(f"{why}  {command}")


def verdict(sentence: str) -> None:
    """The one sentence."""
    _out.print(f"\n{sentence}\n", markup=False, style="bold")


def names(kinds: Mapping[str, Mapping[str, str]]) -> None:
    """Tables of names."""
    for kind, entries in kinds.items():
        say(f"{kind}:")
        for name, about in entries.items():
            say(f"  {name:18} {about}")


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner for a few seconds' work."""
    with _err.status(what):
        yield


def _progress() -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    return Progress(SpinnerColumn(), *columns, TimeRemainingColumn(), console=_err, transient=True)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar fed with (done, total)."""
    with _progress() as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def training(steps: int) -> Iterator[Callable[[StepRecord], None]]:
    """A bar fed with step records, showing losses, distance and ratio."""
    with _progress() as progress:
        yield _steps(progress, steps)


def _steps(progress: Progress, steps: int) -> Callable[[StepRecord], None]:
    task = progress.add_task("unlearning", total=steps)
    checked = ""

    def on_step(record: StepRecord) -> None:
        nonlocal checked
        if record.distance is not None:
            ratio = f", ratio {percent(record.ratio)}" if record.ratio is not None else ""
            checked = f", {record.distance:.4f} from the teacher{ratio}"
        progress.update(task, completed=record.step, description=f"unlearning: loss {record.loss:.4f}{checked}")
        if record.stopped:
            progress.remove_task(task)
            say(f"stopped after {record.step} {'step' if record.step == 1 else 'steps'}: {record.stopped}{checked}")

    return on_step


@contextmanager
def everything(run: Path, steps: int) -> Iterator[dict[str, Any]]:
    """The hooks of `workflow.run`, all on one display."""
    with _progress() as progress:
        current = progress.add_task("starting", total=None)
        hooks: dict[str, Any] = {"on_preview": teacher(run)}
        bars: list[Callable[[StepRecord], None]] = []

        def on_verb(verb: str) -> None:
            progress.update(current, description=verb, total=None, completed=0, visible=verb != "unlearn")
            if verb == "unlearn":
                bars.append(_steps(progress, steps))

        def on_step(record: StepRecord) -> None:
            bars[-1](record)

        hooks["on_verb"] = on_verb
        hooks["on_batch"] = lambda done, total: progress.update(current, completed=done, total=total)
        hooks["on_step"] = on_step
        yield hooks


def percent(score: Score | None) -> str:
    """`0.30 % (0.21 to 0.43 %)`; `not judged` for None."""
    from unfeature.reports import words

    return "not judged" if score is None else words.with_range(score)


def teacher(run: Path) -> Callable[[Preview, float], None]:
    """Says the teacher's numbers before training, with a warning where the wanted ratio is out of its reach."""

    def on_preview(preview: Preview, wanted: float) -> None:
        from unfeature.reports import words

        shown = f"{percent(preview.ratio_before)} -> {percent(preview.ratio)} show it"
        told = shown if preview.ratio is not None else "nobody judges how many show it"
        rewritten = f"{percent(preview.rewritten)} of latents rewritten (n = {preview.n:,})"
        say(f"teacher, before any training: {told}; {rewritten}")
        if not preview.rewritten.value:
            _unmoved(run)
        elif preview.ratio is not None and preview.ratio.low > wanted:
            margins = f"unfeature preview {quote(str(run))} --margins 0.25 --margins 0.5"
            more = (
                margins if preview.threshold is not None else "unfeature find, for each feature, with a larger --margin"
            )
            _out.print(
                f"warning: the wanted ratio, {words.percent(wanted)}, is out of the teacher's reach, and the copy "
                f"cannot beat it. Try more:  {more}",
                style="yellow",
                markup=False,
            )

    return on_preview


def _unmoved(run: Path) -> None:
    """A warning that the teacher does nothing."""
    _out.print(
        "warning: the feature flags none of these latents, so the teacher changes no picture, and preview.png shows "
        f"pairs that are alike. Find it with a lower threshold:  unfeature find {quote(str(run))} --threshold T",
        style="yellow",
        markup=False,
    )


def _two_lines(name: str, score: Score | None) -> str:
    from unfeature.reports import words

    if score is None or not score.n:
        return "-" if score else "not judged"
    return f"{words.figure(name, score)}\n{words.interval(name, score)}"


def previews(found: Sequence[Preview], wanted: float, run: Path, options: Mapping[str, Any]) -> None:
    """A table of teachers, the feature's own first, and of the instant edit where it was asked; in 80 columns."""
    from unfeature.reports import words

    n, before = found[0].n, found[0].ratio_before
    told = f"of {n:,} originals {percent(before)} show it" if before else f"nobody judges how many of {n:,} show it"
    say(f"What the copy would learn from; {told}.")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 1, 0))
    table.add_column("Pictures made by", overflow="fold", width=18)
    for name in ("target_ratio", "rewritten", "drift_never_had", "flips_never_had"):
        title = words.MEASURES[name].title.replace("{class}", "class")
        table.add_column(title, justify="right", overflow="fold", width=14)
    for preview in found:
        reached, start = preview.ratio is not None and preview.ratio.value <= wanted, preview.threshold
        strength = f"\nthreshold {start:.3f}\nmargin {preview.margin:.2f}" if start is not None else ""
        table.add_row(
            f"{preview.made_by}{strength}",
            _two_lines("target_ratio", preview.ratio),
            _two_lines("rewritten", preview.rewritten),
            _two_lines("drift_never_had", preview.drift_rest),
            _two_lines("flips_never_had", preview.flips_rest),
            style="green" if reached else None,
        )
    _out.print(table)
    teachers = sum(preview.made_by == "teacher" for preview in found)
    if len(found) > 1:
        say(f"green: at most the wanted {words.percent(wanted)}. Below each figure stands its 95 % interval.")
    if teachers < len(found):
        then("Keep the instant edit:", f"unfeature unlearn {quote(str(run))} --unlearner instant")
    if teachers > 1:
        if not found[0].rewritten.value:
            _unmoved(run)
        _choose(run, options)
    else:
        teacher(run)(found[0], wanted)


def _choose(run: Path, options: Mapping[str, Any]) -> None:
    """How the same feature is found at another strength; who chooses by itself takes none."""
    from unfeature.options import FindOptions

    if options.get("finder") == "auto":
        say("--finder auto has chosen its own among such strengths.")
        return
    plain = FindOptions().model_dump(mode="json") | {name: options.get(name) for name in ("threshold", "margin")}
    given = flags({name: value for name, value in options.items() if value != plain.get(name)})
    then("Choose one:", f"unfeature find {quote(str(run))}{given} --threshold T --margin M")


def evaluation(result: Evaluation) -> None:
    """The main figures of all rows, a line each, in 80 columns."""
    from unfeature.artifacts import OTHER
    from unfeature.reports.tables import full_table, main_table

    main, full = main_table(result), full_table(result)
    rows = [line.name for line in main.lines]
    figures = [(head, tuple(line.cells[i] for line in main.lines)) for i, head in enumerate(main.heads)]
    figures[1:1] = [line for group in full.groups for line in group.lines if line[0].code.startswith(OTHER)]
    say(f"{result.feature}: {result.n:,} fresh samples a row, figures with their 95 % intervals")
    for head, cells in figures:
        say(f"\n{head.title} ({head.better})")
        for row, cell in zip(rows, cells, strict=False):
            if cell is not None:
                say(f"  {row:24} {cell.value:>9}   {cell.interval:26} n = {cell.n}")


def attacks(found: Attacks) -> None:
    """What each attack brought back, from each target."""
    from unfeature.reports.attacks import headlines

    columns, lines = headlines(found)
    say("Brought back; 95 % intervals")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 1, 0))
    for column in ("attack", "figure", *columns):
        table.add_column(column, justify="left" if column in ("attack", "figure") else "right")
    for line in lines:
        table.add_row(*line)
    _out.print(table)
    for name, why in found.left_out.items():
        say(f"{name} was left out: {why}")


def findings(found: Sequence[Finding]) -> None:
    """What is wrong with a generator, each with what to do."""
    for number, finding in enumerate(found, start=1):
        say(f"{number:2}. {finding.wrong}.\n    {finding.remedy}")


def conforms(name: str, facts: Facts) -> None:
    """What a generator is like that keeps every promise."""
    spec, speed = facts.spec, facts.pictures_per_second
    say(f"{name} conforms.")
    lines = {
        "latents": f"{spec.latent_dim} numbers",
        "pictures": f"{'x'.join(map(str, spec.image_shape))} (channels x height x width)",
        "parameters": f"{facts.parameters:,}",
        "speed": f"{speed:,.0f} pictures a second here" if speed >= 10 else f"{1 / speed:.2g} s a picture here",
        "unlearning": f"about {duration(facts.unlearning)} here with the default options, if it uses all its steps",
        "licence": spec.licence or "not stated",
    }
    if facts.unlearning > PATIENCE:
        lines["unlearning"] += "; quicker with a GPU (UNFEATURE_DEVICE=cuda) or a smaller --batch"
    for label, value in lines.items():
        say(f"  {label:11} {value}")
    for note in facts.notes:
        say(f"  note: {note}")


def duration(seconds: float) -> str:
    """Seconds, minutes or hours in two digits."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}" if seconds < 100 * length else f"{seconds / length:.0f} {unit}"
    return f"{max(1.0, seconds):.0f} s"


def assets(listed: Mapping[str, Asset], found: Mapping[str, State]) -> None:
    """A line for every file of the list."""
    colours = {"whole": "green", "same weights": "green", "missing": "yellow", "damaged": "red"}
    for name, asset in listed.items():
        _out.print(f"{name:15} {found[name]:13} {asset.licence}", markup=False, style=colours[found[name]])
        say(f"{'':15} {asset.about}")
