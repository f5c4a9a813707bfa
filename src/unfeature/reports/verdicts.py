"""One plain sentence on whether the feature is gone, and whether anything else broke."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unfeature.artifacts import Attacks, Evaluation, Row, Score
from unfeature.errors import MissingStep
from unfeature.intervals import newcombe, samples_under
from unfeature.options import LEAST_COUNTED, MOST_COUNTED
from unfeature.reports.withstood import brought_back
from unfeature.reports.words import changed, count, first, judged_flips, percent, sentence_start, with_range

FLIPS_KEPT = 0.05
"""At most this share of untouched pictures may change class, or of their other attributes may change."""
DRIFT_KEPT = 0.02
"""At most this mean absolute pixel change of untouched pictures, in [0, 1]."""
MADE = 0.5
"""A copy that makes less than this share of its teacher's edit, and changes less than it, has deceived the judge."""
REPLACED = 2.0
"""Pictures that had the feature may change so many times as much as the teacher changes them, or by DRIFT_KEPT more."""
FAR = 4.0
"""At most so many times teacher's and original's distance to pictures without the feature, by near ends of intervals.

Of 80 runs on digits, those whose pictures stayed digits reached 1.1, the average of neighbours 1.6 to 3.0 on one
generator and 8 to 25 on another, where half of what was edited became another digit; noise and white 16 to 70.
"""
COVERAGE_KEPT = 0.5
"""Under this part of the rejection filter's coverage, the generator has collapsed."""
COVERAGE_USUAL = 0.9
"""Under this part of it, the sentence says that the pictures are less varied."""


@dataclass(frozen=True)
class Verdict:
    """The outcome in one word, and in one sentence a stranger understands."""

    status: Literal["removed", "reduced", "failed"]
    sentence: str


def verdict(evaluation: Evaluation, attacks: Attacks | None = None) -> Verdict:
    """Removed, reduced or failed, and what attacks brought back; MissingStep where rows have no target ratio."""
    ratios = _ratio(evaluation, "original"), _ratio(evaluation, "unlearned")
    outcome, more = _measured(evaluation, *ratios), brought_back(attacks, *ratios)
    return Verdict(outcome.status, f"{outcome.sentence} {more}") if more else outcome


def _measured(evaluation: Evaluation, before: Score, after: Score) -> Verdict:
    """Of fresh samples, by the shares of the original and of the copy that show it."""
    unlearned = evaluation.row("unlearned")
    name = sentence_start(evaluation.feature.strip()) or "The feature"
    change = f"{percent(before.value)} of the pictures showed it before, {with_range(after)} do now"
    lower = newcombe(before, after)[0] > 0
    broken = [
        text for test in (_collapse, _damage, _replaced, _strange, _deceiving) if (text := test(evaluation, unlearned))
    ]
    if not lower or broken:
        rare = before.high <= evaluation.wanted_ratio
        return Verdict("failed", _failure(name, change, broken, lower=lower, rare=rare))
    unknown = _unmeasured(evaluation, unlearned)
    if reached(after, evaluation.wanted_ratio) and not unknown:
        gone = f"{name}: gone{_doubt(after, evaluation.wanted_ratio)}"
        return Verdict("removed", f"{gone}. {change}, and {_kept(evaluation, unlearned)}.")
    if reached(after, evaluation.wanted_ratio):
        doubt = f"but {unknown} was not measured, so this proves no removal."
        return Verdict("reduced", f"{name}: rarer. {change}, {doubt}")
    shortfall = f"wanted {percent(evaluation.wanted_ratio)}. {_shortfall(evaluation)}"
    return Verdict("reduced", f"{name}: rarer, but not gone. {change}; {shortfall}")


def reached(ratio: Score, wanted: float) -> bool:
    """The share measured is at most the wanted one."""
    return ratio.value <= wanted


def _doubt(ratio: Score, wanted: float) -> str:
    """What to say of a share that reached the wanted one, where its interval goes beyond; empty where it does not."""
    if ratio.high <= wanted:
        return ""
    told = f", as far as {count(ratio.n)} pictures can tell: up to {percent(ratio.high)} is possible"
    needed = samples_under(ratio.value, wanted)
    if needed is None or needed > MOST_COUNTED:
        return f"{told}, and it is too near {percent(wanted)} to be proved under it"
    needed = max(LEAST_COUNTED, _rounded_up(needed))
    return f"{told}; about {count(needed)} would prove {percent(wanted)} (unfeature evaluate RUN --count {needed})"


def _rounded_up(n: int) -> int:
    """To two digits that count."""
    unit: int = 10 ** max(0, len(str(n)) - 2)
    return -(-n // unit) * unit


def _ratio(evaluation: Evaluation, row: str) -> Score:
    names = [known.name for known in evaluation.rows]
    ratio = first(evaluation.row(row).scores, "target_ratio") if row in names else None
    if ratio is None:
        raise MissingStep(
            f'the evaluation of "{evaluation.feature}" has no target_ratio in row "{row}" (rows: {", ".join(names)}); '
            "a verdict compares original and unlearned. Evaluate again:  unfeature evaluate RUN"
        )
    return ratio


def _taught(evaluation: Evaluation, key: str) -> Score | None:
    """The teacher's figure; None where there is no such row or figure."""
    return _of(evaluation, "teacher", key)


def _of(evaluation: Evaluation, row: str, key: str) -> Score | None:
    return next((first(known.scores, key) for known in evaluation.rows if known.name == row), None)


def _collapse(evaluation: Evaluation, unlearned: Row) -> str:
    """What to say where the result covers too little of what the original can make; empty where it does not."""
    covered = _covered(evaluation, unlearned, COVERAGE_KEPT)
    return f"the generator collapsed: {covered}" if covered else ""


def _covered(evaluation: Evaluation, unlearned: Row, least: float) -> str:
    """The result's coverage, in words, where it is under this part of the rejection filter's; empty otherwise."""
    coverage = first(unlearned.scores, "coverage")
    rows = {row.name: row for row in evaluation.rows}
    expected = first(rows.get("filter", rows["original"]).scores, "coverage")
    # Written so that a value that is no number counts as too small.
    if coverage is None or expected is None or coverage.value >= least * expected.value:
        return ""
    return (
        f"its pictures cover {percent(coverage.value)} of the variety that was there, "
        f"{percent(expected.value)} would be normal"
    )


def _damage(evaluation: Evaluation, unlearned: Row) -> str:
    """What to say where pictures without the feature changed too much; empty where they did not."""
    key = judged_flips(evaluation, "untouched")
    flips, drift = first(unlearned.scores, key), first(unlearned.scores, "drift_untouched")
    found = []
    if flips is not None and not flips.value <= FLIPS_KEPT:
        found.append(changed(evaluation, key, flips.value))
    if drift is not None and not drift.value <= DRIFT_KEPT:
        found.append(f"their pixels changed by {percent(drift.value)} on average")
    return f"pictures outside the edit's reach were damaged ({', '.join(found)})" if found else ""


def _replaced(evaluation: Evaluation, unlearned: Row) -> str:
    """What to say where pictures with the feature became others altogether, as memorised ones; empty otherwise."""
    taught, drift = _taught(evaluation, "drift_had"), first(unlearned.scores, "drift_had")
    if taught is None or drift is None or drift.value <= max(REPLACED * taught.value, taught.value + DRIFT_KEPT):
        return ""
    return (
        f"pictures that showed it were replaced, not edited: their pixels changed by {percent(drift.value)} on "
        f"average, by {percent(taught.value)} in the teacher"
    )


def _strange(evaluation: Evaluation, unlearned: Row) -> str:
    """What to say where its pictures are like none of the original's; empty where they are not."""
    distance, own, taught = first(unlearned.scores, "fd"), _of(evaluation, "original", "fd"), _taught(evaluation, "fd")
    usual = max((score.high for score in (own, taught) if score is not None), default=None)
    if distance is None or usual is None or distance.low <= FAR * usual:
        return ""
    return (
        f"its pictures are like none that the original makes: their distance to pictures without the feature is "
        f"{distance.value:.3g}, where {usual:.3g} would be much"
    )


def _deceiving(evaluation: Evaluation, unlearned: Row) -> str:
    """What to say where the judge finds less of it though hardly anything was edited; empty otherwise."""
    taught = _taught(evaluation, "drift_had")
    made, drift = (first(unlearned.scores, name) for name in ("edit_made", "drift_had"))
    gone, before = _ratio(evaluation, "unlearned"), _ratio(evaluation, "original")
    if made is None or taught is None or drift is None or made.value >= MADE or drift.value >= taught.value:
        return ""
    if gone.value >= (1 - MADE) * before.value:
        return ""
    return (
        f"only {percent(made.value)} of the edit was made: the pictures still show it in another way than the judge "
        "looks for. Look at them"
    )


def _failure(name: str, change: str, broken: list[str], *, lower: bool, rare: bool) -> str:
    damage = "; ".join(broken)
    if lower:
        return f"{name}: failed. {change}, but {damage}."
    if rare:
        hardly = "the judge hardly finds it in the original, so nothing can be proved of its removal"
        return f"{name}: nothing proved. {change}: {hardly}" + (f"; and {damage}." if damage else ".")
    return f"{name}: still there. {change}" + (f"; and {damage}." if damage else ".")


def _unmeasured(evaluation: Evaluation, unlearned: Row) -> str:
    missing = []
    if first(unlearned.scores, "coverage") is None:
        missing.append("whether the variety was kept")
    paired = "drift_untouched", judged_flips(evaluation, "untouched")
    if all(first(unlearned.scores, key) is None for key in paired):
        missing.append("whether other pictures stayed as they were")
    return " and ".join(missing)


def _kept(evaluation: Evaluation, unlearned: Row) -> str:
    key, reach = judged_flips(evaluation, "untouched"), judged_flips(evaluation, "never_had")
    flips, drift = first(unlearned.scores, key), first(unlearned.scores, "drift_untouched")
    if flips is not None:
        detail = changed(evaluation, key, flips.value)
        detail += f"; up to {percent(flips.high)} is possible" if flips.high > FLIPS_KEPT else ""
    elif drift is not None:
        detail = f"pixels changed by {percent(drift.value)} on average"
    else:
        return "nothing else was measured"
    kept = f"pictures outside the edit's reach stayed as they were ({detail})"
    everybody, but = first(unlearned.scores, reach), list[str]()
    if everybody is not None and everybody.value > FLIPS_KEPT:
        but.append(f"the edit reaches far: {changed(evaluation, reach, everybody.value, 'of all that never had it')}")
    if covered := _covered(evaluation, unlearned, COVERAGE_USUAL):
        but.append(f"the generator is less varied: {covered}")
    return f"{kept}, but {'; '.join(but)}" if but else kept


def _shortfall(evaluation: Evaluation) -> str:
    """Whose limit it is: the teacher's, or the student's."""
    teacher = _taught(evaluation, "target_ratio")
    if teacher is None:
        return "What it was taught from was not measured, so whether more training would help is not known."
    if not reached(teacher, evaluation.wanted_ratio):
        finder = evaluation.options.get("find", {}).get("finder", "linear")
        way = "along one direction" if finder in {"linear", "pseudo-label"} else "by this edit"
        stops = f"The teacher itself stops at {percent(teacher.value)}"
        copy = _of(evaluation, "unlearned", "target_ratio")
        if copy is not None and copy.value < teacher.value:
            return f"{stops}, and the copy went beyond: {way} no more is to be learnt."
        return f"{stops}: this feature is not removable further {way}."
    return f"Its teacher reaches {percent(teacher.value)}, so more training may close the gap."
