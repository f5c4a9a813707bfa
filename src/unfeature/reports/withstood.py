"""What attacks take away from a verdict: how somebody who has the weights brings the feature back."""

from __future__ import annotations

from collections.abc import Iterator

from unfeature.artifacts import AttackResult, Attacks, Score
from unfeature.reports.words import percent

FOUND = 0.05
"""At most this share may a search find, or this much more than of a control that never had the feature."""

HALF = 0.5
"""Where weights are changed at most this part of the original's share may come back, and never more than FOUND, on top
of what the copy shows anyway, or a control."""

KEPT_STEPS = 0.5
"""Relearning takes at least this part of the steps that the control takes."""

FEWEST = 8
"""Pictures that relearning is judged from: one tells little, and from many anything is learnt."""

WORDS = {
    "latent-search": "a search for latents finds it from {} of its starts",
    "inner-search": "a search in the inner maps ({place}) finds it from {} of its starts",
    "inversion": "{} of the pictures that showed it can be recovered",
    "fine-tuning": "training on pictures without it brings it to {}",
    "pruning": "pruning brings it to {}",
    "quantisation": "rounding to 8 bits brings it to {}",
    "encoder-path": "{} of reconstructions through the encoder show it",
}
"""Attack -> what its first figure says. Weights between original and copy are no attack without the original."""

CHANGES = ("fine-tuning", "pruning", "quantisation")
"""Attacks that change weights: their first figure is a share of fresh samples, as the copy's own."""

PLACES = ("inner-search",)
"""Attacks with a figure for each place: all of them say something, each beside the control's at that place."""


def brought_back(attacks: Attacks | None, before: Score, after: Score) -> str:
    """A sentence with every attack that the copy did not withstand, or nothing.

    before, after: shares of fresh samples that show it, of the original and of the copy as it is.
    """
    if attacks is None:
        return ""
    found = {(result.name, result.target): result for result in attacks.results}
    ways = [way for name in WORDS for way in _way(name, found, before, after)] + list(_relearnt(found))
    return f"Somebody who has the weights can bring it back: {'; '.join(ways)}." if ways else ""


def _way(name: str, found: dict[tuple[str, str], AttackResult], before: Score, after: Score) -> Iterator[str]:
    copy, control = found.get((name, "unlearned")), found.get((name, "control"))
    if copy is None:
        return
    usual = {score.name: score.value for score in control.figures} if control is not None else {}
    told = copy.figures if name in PLACES else copy.figures[:1]
    anyway, allowed = (after.high, min(FOUND, HALF * before.value)) if name in CHANGES else (0.0, FOUND)
    beyond = [score for score in told if score.value > max(anyway, usual.get(score.name, 0.0)) + allowed]
    if beyond:
        most = max(beyond, key=lambda score: score.value)
        yield WORDS[name].format(percent(most.value), place=most.name.partition(": ")[2])


def _relearnt(found: dict[tuple[str, str], AttackResult]) -> Iterator[str]:
    """Where a control says how fast the feature is learnt by who never had it."""
    copy, control = (found.get(("relearning", target)) for target in ("unlearned", "control"))
    if copy is None or control is None:
        return
    tried = copy.facts["steps_to_half"].keys() & control.facts["steps_to_half"].keys()
    number = min((number for number in tried if int(number) >= FEWEST), key=int, default="")
    needed, usual = (result.facts["steps_to_half"].get(number) for result in (copy, control))
    if not needed or (usual is not None and needed >= KEPT_STEPS * usual):
        return  # no step: half of it is there as it is
    longer = f"{usual} steps" if usual is not None else f"more than {control.facts['steps']}"
    yield f"{needed} steps on {number} pictures bring half of it back, a control that never had it needs {longer}"
