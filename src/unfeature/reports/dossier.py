"""The page of a dossier that a reviewer reads first: what was asked, done, measured, attacked, and how to check it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unfeature.artifacts import Attacks, Evaluation, Preview, StepRecord
from unfeature.reports.content import Content, content
from unfeature.reports.markdown import attacked, code, listed, main_figures, plain
from unfeature.reports.words import count

FILES = {
    "dossier.md": "this page",
    "report.html": "the report with pictures before and after, and every figure; opens in a browser, asks nobody",
    "report.md": "the same without pictures",
    "report.json": "the same for programs, with the log of training",
    "request.json": "what was asked for, and who decides",
    "feedback.json": "the marks: seeds of pictures that show the feature and of those that do not",
    "gallery.json": "seeds of all pictures that were offered for marking",
    "feature.json": "how the feature was found, with every option",
    "preview.json": "what the copy was to learn, measured before training",
    "training.json": "how the copy was trained, and hashes of both checkpoints",
    "evaluation.json": "every measured figure, with intervals, seeds and versions",
    "attacks.json": "every attack's figures and best pictures",
    "manifest.json": "hash of each of these, and what belongs to what",
    "manifest.sha256": "hash of the manifest",
    "manifest.sig": "signature of the manifest",
    "public.pem": "public key beside the signature",
}
"""File -> what it is."""

_INTRO = (
    "This is the evidence on one feature that was removed from an image generator. All of it is in the archive that "
    "this page came in; nothing in it needs to be run. Paths of the machine it was made on were taken out."
)
_BY_HAND = (
    "Without unfeature: unpack the archive, check the manifest by `sha256sum -c manifest.sha256` and each file by the "
    "hash that the manifest lists."
)
_BY_HAND_SIGNED = (
    " The signature:  `openssl pkeyutl -verify -pubin -inkey PUBLIC.pem -rawin -in manifest.json -sigfile manifest.sig`"
)
_VOUCH = (
    "A signature says that the holder of a key made this dossier and that nobody changed it since. Whose key it is, "
    "you have to know from elsewhere: do not take the key beside the signature for it. It does not say that what was "
    "measured is true; for that, measure the checkpoint again with the seeds, options and versions in the manifest."
)
_UNSIGNED = (
    "Nobody signed this dossier: what is checked shows that it is whole, not who made it. Whoever changes a file can "
    "write another manifest."
)


@dataclass(frozen=True)
class Told:
    """What the page is made from; paths taken out of all of it."""

    report: Mapping[str, Any]
    """report.json."""
    feature: Mapping[str, Any]
    """feature.json."""
    training: Mapping[str, Any]
    """training.json."""
    names: tuple[str, ...]
    """Of the files in the archive."""
    signed: bool


def render_dossier(told: Told) -> str:
    """The page as Markdown."""
    report = told.report
    evaluation, attacks = Evaluation.from_json(report["evaluation"]), report["attacks"]
    log = [StepRecord.from_json(record) for record in report["log"]]
    preview = Preview.from_json(report["preview"])
    words = content(evaluation, preview, log, report["facts"], Attacks.from_json(attacks) if attacks else None)
    blocks = [*_top(words, evaluation), *_method(words, told), *_evidence(words, evaluation), *_check(told)]
    return "\n\n".join(blocks) + "\n"


def _top(words: Content, evaluation: Evaluation) -> Iterator[str]:
    yield f"# Dossier: {plain(words.title[:1].lower() + words.title[1:])}"
    yield _INTRO
    yield f"**{words.status}.** {plain(words.verdict.sentence)}"
    yield "## What was asked, and who marked"
    asked = evaluation.options["mark"]
    decides = asked["judge"] or "nobody"
    begins = "" if asked["cut"] is None else f"; it begins at {asked['cut']:.6g} {evaluation.judge.get('unit', '')}"
    yield listed((*words.asked, ("Decides what counts", f"{decides}{begins}".rstrip())))


def _method(words: Content, told: Told) -> Iterator[str]:
    yield "## What was done"
    feature, options = told.feature, told.training["options"]
    yield plain(
        f"The feature was found from the marks by the finder “{feature['options']['finder']}”. A copy of the generator "
        f"was then trained by the unlearner “{options['unlearner']}”; the original was left as it was."
    )
    yield from (plain(text) for text in (words.preview, words.training, *words.choice) if text)
    yield "Every option is in `manifest.json`."


def _evidence(words: Content, evaluation: Evaluation) -> Iterator[str]:
    yield "## What was measured"
    yield (
        f"On {count(evaluation.n)} fresh pictures a row, none of which was seen in marking or training. Below each "
        "figure stand its 95 % interval, or why it has none, and the number of pictures (n) behind it."
    )
    yield main_figures(words.main)
    yield listed((line.name, line.about) for line in words.main.lines if line.about)
    yield "## What was attacked"
    if words.attacks is None:
        yield "Nothing. Whether the feature can be brought back was not tried."
    else:
        yield from attacked(words.attacks)
    yield "## Limits"
    yield "\n".join(f"- {plain(limit)}" for limit in words.limits)


def _check(told: Told) -> Iterator[str]:
    yield "## What is in the archive"
    weights = "weights, as they were; read them as data"
    yield "\n".join(f"- {code(name)}: {FILES.get(name, weights)}" for name in sorted(told.names))
    yield "## How to check it"
    yield "    unfeature verify DOSSIER.zip" + (" --key PUBLIC.pem" if told.signed else "") + " --checkpoint FILE"
    yield (
        "It checks every hash" + (", the signature," if told.signed else "") + " that marks, training, evaluation and "
        "attacks belong to each other, and that FILE holds the weights that were measured. It runs nothing in it."
    )
    yield _BY_HAND + (_BY_HAND_SIGNED if told.signed else "")
    yield _VOUCH if told.signed else _UNSIGNED
    yield "The checkpoints:"
    checkpoints = told.training["checkpoints"]
    yield listed((f"{which}, {its['name']}", f"SHA-256 {its['sha256']}") for which, its in checkpoints.items())
