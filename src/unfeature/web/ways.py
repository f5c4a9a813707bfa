"""The ways in which the page finds a feature: what may be asked, the verbs' options, and back. No torch.

What is kept is asked for by the names of runs in the same folder; paths are made here, never taken from a browser.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from unfeature.errors import BadOption
from unfeature.options import FLIPS, FindOptions, RunOptions, UnlearnOptions
from unfeature.presets import read_options

Way = Literal["linear", "counterfactual", "auto"]
"""Along one direction at a strength that was looked at; by search, or chosen, as the preset of that name says."""

WAYS: tuple[Way, ...] = get_args(Way)
DIRECTION: Way = "linear"
STRENGTH = ("threshold", "margin")
"""What the way along a direction has to be told, and the others choose."""


def base(way: Way) -> RunOptions:
    """What a way starts from: its preset, or the defaults."""
    return read_options(base="" if way == DIRECTION else way)


def asked_for(given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """A request for training, whole: way, keep, steps, and the strength of a direction. BadOption.

    `known` are the runs whose marks may say what is kept.
    """
    way, keep = given.get("way", DIRECTION), sorted(set(given.get("keep", ())))
    strange = [name for name in keep if name not in known]
    if strange:
        raise BadOption(
            f'what is kept names "{strange[0]}"; expected runs of the same generator in this folder with marks of both '
            f"sides: {', '.join(sorted(known)) or 'there are none'}. Tick one of those."
        )
    told = {"way": way, "keep": keep, "steps": given.get("steps") or base(way).unlearn.steps}
    if way == DIRECTION:
        if given.get("threshold") is None:
            raise BadOption("training was asked for without a threshold; expected a number. Choose a strength first.")
        if keep:
            raise BadOption(f"keep was sent for {way}, whose preview does not show it; expected it for another way.")
        return told | {"threshold": given["threshold"], "margin": given.get("margin", 0.0)}
    if any(part in given for part in STRENGTH):
        raise BadOption(
            f"threshold and margin were sent for {way}, which chooses them; expected neither. Leave them out."
        )
    return told


def find_options(folder: Path, told: Mapping[str, Any]) -> FindOptions:
    """For `find`, of what `asked_for` gave."""
    if told["way"] == DIRECTION:
        return FindOptions.parse({part: told[part] for part in STRENGTH})
    keep = tuple(f"{name}={folder.parent / name / 'feedback.json'}" for name in told["keep"])
    given = {"keep": keep} if _grey(folder) else {"keep": keep, "extractor": ""}
    return FindOptions.parse(base(told["way"]).find.model_dump() | given)


def unlearn_options(told: Mapping[str, Any]) -> UnlearnOptions:
    """For `unlearn`, of what `asked_for` gave."""
    return UnlearnOptions.parse(base(told["way"]).unlearn.model_dump() | {"steps": told["steps"]})


def went(folder: Path, feature: Mapping[str, Any]) -> dict[str, Any]:
    """Way, keep and strength by the facts of a run's feature; empty where the page could not have asked for it."""
    options = feature["options"]
    keep = [entry.partition("=")[0] for entry in options.get("keep", ())]
    told = {"way": options["finder"], "keep": keep} | {part: feature[part] for part in STRENGTH if part in feature}
    if told["way"] == DIRECTION:
        return told if feature["kind"] == DIRECTION and not keep else {}
    told = {"way": told["way"], "keep": keep}
    possible = told["way"] in WAYS and find_options(folder, told).model_dump(mode="json") == options
    return told if possible else {}


def extractors(folder: Path) -> tuple[str, str]:
    """Which network knows the pictures' classes, if any, and in whose features distances are measured."""
    return (FLIPS, FLIPS) if _grey(folder) else ("", "squeezenet")


def _grey(folder: Path) -> bool:
    return bool(json.loads((folder / "run.json").read_text())["spec"]["image_shape"][0] == 1)
