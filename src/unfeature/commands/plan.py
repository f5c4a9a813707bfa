"""How many samples a ratio needs, before anything is measured."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from unfeature import console
from unfeature.errors import BadOption
from unfeature.intervals import samples_for


def plan_(
    *,
    ratio: Annotated[float, Parameter(help="Target ratio that is expected, in [0, 1].")],
    within: Annotated[float, Parameter(help="Half width of its 95 % interval, above 0 and under 0.5.")],
    true_positive_rate: Annotated[
        float, Parameter(help="Share of pictures with the feature in which the judge finds it.")
    ] = 1.0,
    false_positive_rate: Annotated[float, Parameter(help="Share of those without, in which it does too.")] = 0.0,
) -> None:
    """The number, and the command that draws so many."""
    try:
        count = samples_for(ratio, within, true_positive_rate, false_positive_rate)
    except ValueError as error:
        raise BadOption(f"{error}. Give others:  unfeature plan --ratio 0.003 --within 0.001") from error
    perfect = true_positive_rate == 1 and false_positive_rate == 0
    judge = "" if perfect else ", corrected for the judge's errors"
    console.say(f"{ratio:g} ± {within:g} (95 %{judge}) needs {count:,} samples.")
    console.then("Measure with so many:", f"unfeature evaluate RUN --count {max(100, count)}")
