"""Whatever guides never judges: refused by name, by source file and by weights; and what is told of those who judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unfeature.drawing import drawn
from unfeature.errors import BadOption
from unfeature.features.guides import Helpers
from unfeature.fingerprints import LOOKED_AT, together, weights
from unfeature.judging import is_marks_file, load_judge
from unfeature.metrics.judges import CutJudge
from unfeature.options import FindOptions
from unfeature.plugins import is_file_reference, require_named, same_object, source_hash
from unfeature.protocols import AttributeJudge, Extractor, Generator, Judge
from unfeature.seeds import stream
from unfeature.store import Run
from unfeature.workflow.inputs import About, Request

TOLD = ("trained_on", "architecture", "seed")
"""What a judge, or a guide, may say of itself in `about`."""


@dataclass(frozen=True)
class Guided:
    """Something that had a hand in the feature."""

    what: str
    """How: "--guide", "--keep male", "the probe's network", "the marks"."""
    reference: str
    about: Mapping[str, Any]
    weights: frozenset[str]


def look_of(judge: Judge) -> Callable[[Tensor], Any]:
    """All that it is asked about pictures."""
    if isinstance(judge, AttributeJudge):
        return lambda images: (judge.score(images), judge.attribute_scores(images))
    return judge.score


def guides(run: Run, generator: Generator, finds: Sequence[Mapping[str, Any]], helpers: Helpers) -> list[Guided]:
    """Networks that the features of these options were found with. UntrustedCode, BadFile."""
    images, found = pictures(run, generator), dict[str, Guided]()
    for how in (FindOptions.model_construct(**options) for options in finds):
        for what, reference in _named(how):
            if reference not in found:
                found[reference] = _of_judge(what, reference, helpers.judge(reference), images)
        if how.extractor and (how.finder != "linear" or any(is_marks_file(reference) for _, reference in how.kept)):
            network = helpers.extractor(how.extractor)
            if network is not None:
                about, seen = about_extractor(network), weights_of(network, images)
                found[how.extractor] = Guided("the probe's network", how.extractor, about, seen)
    return list(found.values())


def _named(how: FindOptions) -> Iterator[tuple[str, str]]:
    if how.guide:
        yield "--guide", how.guide
    for name, reference in how.kept:
        if not is_marks_file(reference):
            yield f"--keep {name}", reference


def _of_judge(what: str, reference: str, judge: Judge, images: Tensor) -> Guided:
    return Guided(what, reference, judge.about, weights(look_of(judge), images))


def markers(run: Run, generator: Generator, requests: Sequence[Request]) -> list[Guided]:
    """Networks that made the marks; a measurement, or a function without weights, may mark and judge."""
    images, seed, found = pictures(run, generator), run.read_as("run.json", About).seed, []
    for asked in requests:
        if is_file_reference(asked.by):
            require_named(asked.by, str(run.path("request.json")))
            judge = load_judge(asked.by, generator, seed, asked.share)
            marked = Guided("the marks", asked.by, judge.about, weights(judge.score, images))
            found += [marked] if marked.weights else []
    return found


def pictures(run: Run, generator: Generator) -> Tensor:
    """The few that networks are watched on."""
    return drawn(generator, stream("apart", run.read_as("run.json", About).seed, 0, LOOKED_AT))[1]


def about_extractor(extractor: Extractor) -> dict[str, str]:
    """Name and hash; what its classes are called where they are those of the pictures; and what it tells of itself."""
    about = {"name": extractor.name, "sha256": extractor.hash}
    about |= {"class_word": extractor.class_word} if hasattr(extractor, "class_word") else {}
    return about | dict(getattr(extractor, "about", {}))


def weights_of(extractor: Extractor, images: Tensor) -> frozenset[str]:
    """Hashes of all that it uses while it looks at images (n, c, h, w)."""
    return weights(lambda x: (extractor.embed(x), extractor.logits(x)), images)


def doubt(reference: str, extractor: Extractor, guided: Sequence[Guided], images: Tensor) -> dict[str, str]:
    """A warning where the network that counts flips, or one with weights of its own, had a hand in the feature."""
    if not guided:
        return {}
    own = weights_of(extractor, images)
    if not any(_why(reference, own, guide) for guide in guided):
        return {}
    return {"note": "it guided the search too, so its flips are too few: measure with another, --extractor"}


def check_apart(run: Run, generator: Generator, judges: Mapping[str, Judge], guided: Sequence[Guided]) -> None:
    """BadOption where one of the judges (reference -> judge) had a hand in the feature, under whatever name."""
    for reference, guide, why in judged_too(run, generator, judges, guided):
        raise BadOption(
            f'the judge "{reference}" {why}, which guided ({guide.what}); expected one that had no hand in the '
            "feature, since whatever guides is never what judges. Name a network that was trained apart from it, or a "
            f"measurement:  unfeature mark {run.quoted} ... --judge FILE.py:NAME"
        )


def judged_too(
    run: Run, generator: Generator, judges: Mapping[str, Judge], guided: Sequence[Guided]
) -> Iterator[tuple[str, Guided, str]]:
    """Of the judges (reference -> judge) those that guide under whatever name: reference, as what, why they are one."""
    if not guided:
        return
    images = pictures(run, generator)
    for reference, judge in judges.items():
        own = weights(look_of(judge), images) if is_file_reference(reference) else frozenset[str]()
        for guide in guided:
            why = _why(reference, own, guide)
            if why:
                yield reference, guide, why


def _why(reference: str, own: frozenset[str], guide: Guided) -> str:
    """Why the two are one; empty where they are not."""
    if same_object(reference, guide.reference):
        return f'is "{guide.reference}"'
    if own & guide.weights:
        return f'has the same weights as "{guide.reference}"'
    return ""


def described(reference: str, judge: Judge, images: Tensor) -> dict[str, Any]:
    """What a judge stands on, for the result file: what it tells of its training, hashes of weights and source."""
    facts = dict(judge.about)
    seen = together(weights(look_of(judge), images)) if is_file_reference(reference) else ""
    if isinstance(judge, CutJudge) and not seen:
        facts.setdefault("trained_on", "nothing: it measures")
    else:
        facts = {**dict.fromkeys(TOLD, "not told"), **facts}
    hashes = {"weights_sha256": seen, "source_sha256": source_hash(reference)}
    return facts | {name: value for name, value in hashes.items() if value}


def guides_told(guided: Sequence[Guided]) -> dict[str, dict[str, Any]]:
    """The same of everything that guided, in short, by how it did."""
    return {
        guide.what: {
            "name": guide.reference,
            **{key: guide.about.get(key, "not told") for key in TOLD},
            "weights_sha256": together(guide.weights) or "none",
        }
        for guide in guided
    }
