"""Every error a user can cause: one sentence of what, got, expected, do this. The faces turn them into exit code 2."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable


class UnfeatureError(Exception):
    """Something the user can put right; the message says how."""


class UnknownName(UnfeatureError, LookupError):
    """A name that is not in its table; `own` is how a user's own is named, where that can be."""

    def __init__(self, kind: str, got: str, known: Iterable[str], own: str = "", near: str = "") -> None:
        names = sorted(known)
        near = near or next(iter(difflib.get_close_matches(got, names, n=1, cutoff=0.4)), "")
        hint = f'Did you mean "{near}"?' if near else f"Use one of those{own and f', or {own} for your own'}."
        super().__init__(f'unknown {kind} "{got}"; expected one of {", ".join(names)}. {hint}')


class BadOption(UnfeatureError, ValueError):
    """An option outside its range, or one that does not exist."""


class NothingLeft(BadOption):
    """What is to be kept leaves nothing of a direction."""


class ShapeError(UnfeatureError, ValueError):
    """A tensor whose shape does not fit the thing it was given to."""


class NotEnoughFeedback(UnfeatureError, ValueError):
    """Zero positives or zero negatives."""

    def __init__(self, feature: str, positives: int, negatives: int, folder: str = "RUN") -> None:
        self.feature, self.positives, self.negatives = feature, positives, negatives
        without = "positives" if positives == 0 else "negatives"
        kind = "with" if positives == 0 else "without"
        command = f"unfeature mark {folder} {shlex.quote(feature)} --by FILE.csv"
        super().__init__(
            f'feature "{feature}" has 0 {without} (positives {positives}, negatives {negatives}); finding it needs '
            f"at least 1 of each. Mark some pictures {kind} it:  {command}"
        )


class TooFewMarks(UnfeatureError, ValueError):
    """Marks of both kinds, but fewer than something can be learnt from."""


class WrongGenerator(UnfeatureError, ValueError):
    """An artifact made for another generator."""

    def __init__(self, what: str, got: str, expected: str) -> None:
        super().__init__(
            f"the {what} was made for generator {got}, but this generator is {expected}. "
            f"Use the generator it was made for, or make the {what} anew."
        )


class BadCheckpoint(UnfeatureError, ValueError):
    """Weights that cannot be read, or hold values no image can be made from."""


class BadFile(UnfeatureError, ValueError):
    """A file of the user's that cannot be read as what it should be."""


class NotConforming(UnfeatureError):
    """A generator that breaks a promise of `protocols.Generator`; what it is was told before."""


class NotVerified(UnfeatureError):
    """A dossier that is not what it was, or not by whom or of what it was said to be; what is wrong was told before."""


class UntrustedCode(UnfeatureError):
    """A Python file that a run folder names and that the user has never named on this machine."""


class RunBusy(UnfeatureError):
    """Another process holds the run folder."""


class MissingStep(UnfeatureError, LookupError):
    """A verb that needs the result of an earlier one."""


class NotApplicable(UnfeatureError):
    """An attack that has nothing to work on here: it is left out, unless it was asked for by name."""


class NotMade(UnfeatureError):
    """Cells of a benchmark that could not be made; the others are in its table."""


class DiskFull(UnfeatureError, OSError):
    """No room left; what was there before is untouched."""


class Interrupted(UnfeatureError):
    """Stopped by the user with everything saved; the message says how to go on."""


def first_line(error: Exception) -> str:
    """Kind and first line of somebody else's error, for a sentence of ours; at most 300 characters."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]
