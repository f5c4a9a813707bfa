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

UNFIT = "it sees less than it errs"
"""In the note of a corrected share that has no interval: what is seen is less than wrong answers alone would make."""


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


def check_rates(name: object, about: Mapping[str, Any]) -> None:
    """BadOption for declared error rates that are none, or that nothing can be corrected with."""
    told = {rate: about[rate] for rate in RATES if about.get(rate) is not None}
    numbers = all(isinstance(value, int | float) and 0 <= value <= 1 for value in told.values())  # NaN is not
    if not numbers or (len(told) == len(RATES) and told[RATES[0]] <= told[RATES[1]]):
        given = ", ".join(f"{rate} {value!r}" for rate, value in told.items())
        raise BadOption(
            f'judge "{name}" declares {given}; expected shares from 0 to 1, the first above the second: how often it '
            "says yes where the feature is, and where it is not. Mend its `about`."
        )


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
    check_rates(about.get("name"), about)
    hit, false = (float(about[rate]) for rate in RATES)
    value, low, high = (rogan_gladen(share, hit, false) for share in (score.value, score.low, score.high))
    note = f"corrected for the judge's true-positive rate {hit:g} and false-positive rate {false:g}, taken as exact"
    if score.high < false:
        note += f"; {UNFIT}, so these rates are not those on these pictures"
    return dataclasses.replace(score, name=f"{score.name}_corrected", value=value, low=low, high=high, note=note)
