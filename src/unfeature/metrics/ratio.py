"""The target ratio: the share of images in which the judge finds the feature."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from unfeature.artifacts import Score
from unfeature.errors import BadOption
from unfeature.intervals import rogan_gladen
from unfeature.protocols import Paired, Reference

RATES = ("true_positive_rate", "false_positive_rate")


class TargetRatio:
    """`target_ratio` with Wilson's interval."""

    paired = False

    def __init__(self, reference: Reference) -> None:
        self.hits = 0
        self.n = 0

    def update(self, batch: Paired) -> None:
        """Count the batch's images that show the feature."""
        self.hits += int(batch.after.shows.sum())
        self.n += len(batch.after.shows)

    def compute(self) -> list[Score]:
        """One score; 0 in [0, 1] before any image."""
        return [Score.share("target_ratio", self.hits, self.n, higher_is_better=False)]


def declares_rates(about: Mapping[str, Any]) -> bool:
    """Whether a judge says how often it is right and wrong, so that `corrected` can be used."""
    return all(about.get(rate) is not None for rate in RATES)


def corrected(score: Score, about: Mapping[str, Any]) -> Score:
    """The share corrected for the judge's own errors (Rogan, Gladen 1978), as `NAME_corrected`.

    The interval is the corrected interval of `score`: the rates count as exactly known. BadOption where `about`
    declares no rates, or rates that cannot be corrected with.
    """
    if not declares_rates(about):
        raise BadOption(
            f'judge "{about.get("name")}" declares no {" and ".join(RATES)}; expected both. '
            "Measure them on labelled images, or leave the ratio uncorrected."
        )
    hit, false = (float(about[rate]) for rate in RATES)
    try:
        value, low, high = (rogan_gladen(share, hit, false) for share in (score.value, score.low, score.high))
    except ValueError as error:
        raise BadOption(f'judge "{about.get("name")}": {error}') from error
    note = f"corrected for the judge's true-positive rate {hit:g} and false-positive rate {false:g}, taken as exact"
    return dataclasses.replace(score, name=f"{score.name}_corrected", value=value, low=low, high=high, note=note)
