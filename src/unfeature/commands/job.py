"""The verbs of a run folder, from `sample` to `report`, and `run`, `demo`, `list`."""

from __future__ import annotations

import json
import shlex
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import Parameter

from unfeature import console
from unfeature.commands.folders import RunFolder
from unfeature.errors import BadOption, Interrupted, UnknownName
from unfeature.flags import flags
from unfeature.options import (
    EvaluateOptions,
    FindOptions,
    MarkOptions,
    Options,
    PreviewOptions,
    SampleOptions,
    UnlearnOptions,
)
from unfeature.store import Run

if TYPE_CHECKING:
    from unfeature.options import RunOptions

DIGITS = 32
"""Pixels a side of grey pictures that may be digits, which `thickness` measures."""

Chosen = TypeVar("Chosen", bound=Options)
Flat = Parameter(name="*")
Arguments = Annotated[
    tuple[str, ...], Parameter(help="NAME=VALUE for the generator's family or function; repeat the flag.", negative="")
]
Preset = Annotated[
    str, Parameter(help="Start from these options instead of the defaults; see `unfeature list presets`.")
]


def _over_preset(options: Chosen, preset: str, verb: str) -> Chosen:
    """The preset's options of a verb with the flags given on top."""
    if not preset:
        return options
    from unfeature.workflow import read_options

    base: Chosen = getattr(read_options(base=preset), verb)
    return base.model_copy(update=options.model_dump(include=options.model_fields_set))


def list_(kind: Annotated[str, Parameter(help="One kind only, e.g. generators.")] = "", /) -> None:
    """What can be named on the command line and in files of options."""
    from unfeature import zoo
    from unfeature.attacks import ATTACKS
    from unfeature.features import FINDERS
    from unfeature.generators import GENERATORS
    from unfeature.metrics import EXTRACTORS, MEASUREMENTS, METRICS
    from unfeature.presets import presets
    from unfeature.unlearners import UNLEARNERS

    shipped = {
        name: f"latent {card['latent_dim']}, image {'x'.join(map(str, card['image_shape']))}; {card['licence']}"
        for name, card in zoo.cards("generator").items()
    }
    kinds = {"generators": shipped, "families": GENERATORS, "measurements": MEASUREMENTS, "finders": FINDERS}
    kinds |= {"unlearners": UNLEARNERS, "metrics": METRICS, "extractors": EXTRACTORS, "attacks": ATTACKS}
    kinds |= {"presets": {name: _first_sentence(text) for name, text in presets().items()}}
    if kind and kind not in kinds:
        raise UnknownName("kind", kind, kinds)
    console.names({k: v for k, v in kinds.items() if kind in ("", k)})
    console.then("See one at work:", "unfeature demo runs/demo")


def _first_sentence(text: str) -> str:
    """Of the comment that a file begins with."""
    comment = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return " ".join(line.lstrip("# ") for line in comment).partition(". ")[0].rstrip(".") + "."


def sample_(
    run: RunFolder,
    /,
    *,
    generator: Annotated[
        str, Parameter(help="Shipped name, checkpoint file or FILE.py:FUNCTION; mnist-vae where nothing is named.")
    ] = "",
    weights: Annotated[
        str | None, Parameter(help="Checkpoint file put in place of the generator's own weights.")
    ] = None,
    argument: Arguments = (),
    after: Annotated[
        Path | None, Parameter(help="Finished run, whose unlearned generator is to unlearn another feature.")
    ] = None,
    options: Annotated[SampleOptions, Flat] = SampleOptions(),  # noqa: B008 - frozen
) -> None:
    """Draw the gallery."""
    from unfeature import workflow

    notes: list[str] = []
    named = generator or ("" if after else "mnist-vae")
    given = named, options, weights, named_values(argument), notes.append, after or ""
    with console.working(f"drawing {options.count:,} pictures of {named or after}"):
        gallery = workflow.sample(run, *given)
    for note in notes:
        console.say(f"{named or after}: {note}")
    console.wrote(run, "gallery.png", "gallery.csv", "gallery.json")
    console.say(f"{len(gallery.seeds):,} pictures of {gallery.generator}.")
    channels, *size = Run(run).read_json("run.json")["spec"]["image_shape"]
    if channels == 1 and max(size) <= DIGITS:
        console.then("Mark those that show the feature:", f"unfeature mark {_quoted(run)} thickness --by thickness")
    else:
        told = f"unfeature mark {_quoted(run)} FEATURE --by marks.csv --judge FILE.py:FUNCTION"
        console.then("Mark those that show the feature, in a copy of gallery.csv:", told)


def named_values(given: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE, ... as a dict; BadOption."""
    found = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not name.isidentifier() or not equals:
            raise BadOption(f"argument is {pair!r}; expected NAME=VALUE. See:  unfeature sample --help")
        found[name] = value
    return found


def mark_(
    run: RunFolder,
    feature: Annotated[str, Parameter(help="What the feature is called in files and reports.")],
    /,
    *,
    by: Annotated[
        str, Parameter(help="Who marks: a measurement, FILE.py:FUNCTION, a JSON or CSV of marks, clip or truth.")
    ],
    judge: Annotated[
        str, Parameter(help="Who decides the result; by default whoever marks by a measurement or function.")
    ] = "",
    options: Annotated[MarkOptions, Flat] = MarkOptions(),  # noqa: B008
) -> None:
    """Take marks."""
    from unfeature import workflow

    with console.working(f"marking {feature} by {by}"):
        feedback = workflow.mark(run, feature, by, options, judge)
    console.wrote(run, "feedback.json", "request.json")
    cut = f" The feature begins at {feedback.cut:.3g}, fixed on the original." if feedback.cut is not None else ""
    console.say(f"{len(feedback.positives)} marked with it, {len(feedback.negatives)} without.{cut}")
    console.then("Find the feature:", f"unfeature find {_quoted(run)}")


def find_(run: RunFolder, /, *, preset: Preset = "", options: Annotated[FindOptions, Flat] = FindOptions()) -> None:  # noqa: B008
    """Find the feature."""
    from unfeature import workflow

    notes: list[str] = []
    with console.counting("finding the feature") as on_batch:
        feature = workflow.find(run, _over_preset(options, preset, "find"), on_batch, notes.append)
    console.wrote(run, "feature.safetensors")
    for note in notes:
        console.say(f"warning: {note}")
    for sentence in feature.told():
        console.say(sentence)
    console.then("See what it does before any training:", f"unfeature preview {_quoted(run)}")


def preview_(run: RunFolder, /, *, options: Annotated[PreviewOptions, Flat] = PreviewOptions()) -> None:  # noqa: B008
    """The teacher's numbers."""
    from unfeature import workflow
    from unfeature.presets import presets

    with console.working("making the teacher's pictures"):
        previews = workflow.preview(run, options)
        wanted = workflow.wanted_ratio(run)
    found = Run(run).read_facts("feature.safetensors").get("options", {})
    console.previews(previews, wanted, run, found)
    console.wrote(run, "preview.png", "preview.json")
    same = f" --preset {found['finder']}" if found.get("finder") in presets() else ""
    console.then("Train the copy:", f"unfeature unlearn {_quoted(run)}{same}")


def unlearn_(
    run: RunFolder,
    /,
    *,
    preset: Preset = "",
    options: Annotated[UnlearnOptions, Flat] = UnlearnOptions(),  # noqa: B008
) -> None:
    """Train the copy."""
    from unfeature import workflow
    from unfeature.unlearners.training import leave

    chosen = _over_preset(options, preset, "unlearn")
    again = f"unfeature unlearn {_quoted(run)}{_flags(options, preset)}"
    with _resumable(again), console.training(chosen.steps) as on_step:
        workflow.unlearn(run, chosen, console.teacher(run), on_step)
        leave()
    console.wrote(run, "unlearned.safetensors")
    console.then("Measure it:", f"unfeature evaluate {_quoted(run)}")


def evaluate_(run: RunFolder, /, *, options: Annotated[EvaluateOptions, Flat] = EvaluateOptions()) -> None:  # noqa: B008
    """The evidence."""
    from unfeature import workflow

    with console.counting("measuring") as on_batch:
        evaluation = workflow.evaluate(run, options, on_batch)
    console.evaluation(evaluation)
    console.wrote(run, "evaluation.json")
    console.then("Write the report:", f"unfeature report {_quoted(run)}")


def report_(run: RunFolder, /) -> None:
    """The report."""
    from unfeature import workflow

    with console.working("writing the report"):
        paths = workflow.report(run)
    console.wrote(run, *(path.name for path in paths))
    console.then("Open it:", f"{paths[0]}")


def run_(
    file: Annotated[Path, Parameter(help="TOML file of options, a table for each verb.")],
    run: RunFolder,
    /,
    *,
    preset: Preset = "",
    dry_run: Annotated[bool, Parameter(help="Print the resolved options as JSON and stop.", negative="")] = False,
) -> None:
    """All verbs."""
    from unfeature.workflow import read_options

    options = read_options(file, preset)
    if dry_run:
        console.say(json.dumps(options.model_dump(), indent=1))
        return
    _all(run, options, f"unfeature run {_quoted(file)} {_quoted(run)}{_flags(None, preset)}")


def demo_(
    run: RunFolder = Path("runs/demo"),
    /,
    *,
    page: Annotated[bool, Parameter(help="Do it by hand instead, on the page.", negative="")] = False,
) -> None:
    """The embedded default."""
    from unfeature.workflow import read_options

    if page:
        from unfeature.commands.page import demo_page

        return demo_page(run)
    return _all(run, read_options(base="demo"), f"unfeature demo {_quoted(run)}")


def _all(run: Path, options: RunOptions, again: str) -> None:
    from unfeature import workflow

    notes: list[str] = []
    with _resumable(again), console.everything(run, options.unlearn.steps) as hooks:
        paths = workflow.run(run, options, on_note=notes.append, **hooks)
    for note in notes:
        console.say(f"{options.generator}: {note}")
    console.verdict(Run(run).read_json("report.json")["verdict"]["sentence"])
    attacked = () if options.attack is None else ("attacks.json",)
    console.wrote(run, *(path.name for path in paths), *attacked, "unlearned.safetensors")
    console.then("Open the report:", f"{paths[0]}")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _flags(options: Options | None, preset: str) -> str:
    """The flags that were given, each with a space before it: other options would begin another training."""
    given = options.model_dump(include=options.model_fields_set) if options is not None else {}
    return flags({**({"preset": preset} if preset else {}), **given})


class _resumable:
    """Ctrl-C becomes a sentence that says how to go on."""

    def __init__(self, again: str) -> None:
        self.again = again

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            raise Interrupted(f"Stopped; everything up to the last check is saved. Go on with:  {self.again}")
