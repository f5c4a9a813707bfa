"""What attacks take away from a verdict: how somebody who has the weights brings the feature back."""

from __future__ import annotations

from collections.abc import Iterator

from unfeature.artifacts import AttackResult, Attacks
from unfeature.reports.words import percent

FOUND = 0.05
"""At most this share may an attack bring back, or this much more than of a control that never had the feature."""

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

PLACES = ("inner-search",)
"""Attacks with a figure for each place: all of them say something, each beside the control's at that place."""


def brought_back(attacks: Attacks | None) -> str:
    """A sentence with every attack that the copy did not withstand, or nothing."""
    if attacks is None:
        return ""
    found = {(result.name, result.target): result for result in attacks.results}
    ways = [way for name in WORDS for way in _way(name, found)] + list(_relearnt(found))
    return f"Somebody who has the weights can bring it back: {'; '.join(ways)}." if ways else ""


def _way(name: str, found: dict[tuple[str, str], AttackResult]) -> Iterator[str]:
    copy, control = found.get((name, "unlearned")), found.get((name, "control"))
    if copy is None:
        return
    usual = {score.name: score.value for score in control.figures} if control is not None else {}
    told = copy.figures if name in PLACES else copy.figures[:1]
    beyond = [score for score in told if score.value > usual.get(score.name, 0.0) + FOUND]
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
    if needed is None or (usual is not None and needed >= KEPT_STEPS * usual):
        return
    longer = f"{usual} steps" if usual is not None else f"more than {control.facts['steps']}"
    yield f"{needed} steps on {number} pictures bring half of it back, a control that never had it needs {longer}"
