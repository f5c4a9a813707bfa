"""The collateral matrix, summed batch by batch: a few numbers for each attribute and group, whatever the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unfeature.artifacts import Score
from unfeature.changes import Change, Group, Matrix, Stratum
from unfeature.intervals import Z95, holm, mcnemar

MAIN = ("all", "had", "never_had")


@dataclass(frozen=True)
class Told:
    """What is said of a batch of pictures, attribute by attribute."""

    scores: Tensor
    """(n, k) in [0, 1]."""
    there: Tensor
    """(n, k) bool."""

    likely: Tensor
    """(n,) the network's most likely class."""

    @classmethod
    def of(cls, logits: Tensor, scores: Tensor | None, classes: bool) -> Told:
        """The judge's scores of attributes (n, k), where it tells any; then with `classes` a network's, from logits."""
        logits = logits.cpu().double()
        likely = logits.argmax(dim=1)
        told, there = [torch.empty(len(logits), 0).double()], [torch.empty(len(logits), 0).bool()]
        if scores is not None:
            told.append(scores.cpu().double())
            there.append((scores >= 0.5).cpu())
        if classes:
            told.append(logits.softmax(dim=1))
            there.append(torch.nn.functional.one_hot(likely, logits.shape[1]).bool())
        return cls(torch.cat(told, dim=1), torch.cat(there, dim=1), likely)

    def rows(self, mask: Tensor) -> Told:
        """Those of a (n,) mask."""
        return Told(self.scores[mask], self.there[mask], self.likely[mask])


@dataclass(frozen=True)
class Kept:
    """Something that was to stay, by which pictures are told apart."""

    names: tuple[str, ...]
    there: Callable[[Tensor], Tensor]
    """(n, c, h, w) -> (n, k) bool, k names."""


class MatrixSums:
    """Sums over batches of pictures at the same latents: of the original, the copy, and the placebo."""

    def __init__(self, attributes: Sequence[str], kept: Sequence[Kept]) -> None:
        self.attributes, self.kept = tuple(attributes), tuple(kept)
        self._sums: dict[str, Tensor] = {}

    def update(
        self, before: Told, after: Told, shows: tuple[Tensor, Tensor], images: Tensor, moved: Tensor, placebo: Told
    ) -> None:
        """A batch: whether the feature shows before and after (n,), the original's images, which latents moved (n,).

        `placebo` has rows for the moved latents only.
        """
        had, has = (side.cpu().bool() for side in shows)
        masks = [torch.ones_like(had), had, ~had]
        for told in [*(kept.there(images).cpu().bool() for kept in self.kept), *([] if self.kept else [before.there])]:
            masks += [side for column in told.unbind(dim=1) for side in (column, ~column)]
        groups, moved = torch.stack(masks).double(), moved.cpu()
        change, flips = after.scores - before.scores, after.there != before.there
        mock = placebo.there != before.there[moved]
        parts = {
            "n": groups.sum(dim=1),
            "moved": groups[:, moved].sum(dim=1),
            "before": groups @ had.double(),
            "after": groups @ has.double(),
            "change": groups @ change,
            "squares": groups @ change.square(),
            "flips": groups @ flips.double(),
            "edit": groups[:, moved] @ flips[moved].double(),
            "placebo": groups[:, moved] @ mock.double(),
            "only_edit": groups[:, moved] @ (flips[moved] & ~mock).double(),
            "only_placebo": groups[:, moved] @ (~flips[moved] & mock).double(),
        }
        self._sums = {name: self._sums[name] + part if self._sums else part for name, part in parts.items()}

    def compute(self) -> Matrix:
        """All groups; of a judge that keeps many things, and of the attributes, the strata that go with the feature."""
        strata, chosen, place = [], [*enumerate(MAIN)], len(MAIN)
        for names in [kept.names for kept in self.kept] or [self.attributes]:
            found = [self._phi(place + 2 * i) for i in range(len(names))]
            best = max(range(len(names)), key=lambda i: abs(found[i]))
            strata.append(Stratum(names[best], "kept" if self.kept else "correlated", found[best]))
            chosen += [(place + 2 * best + j, f"{side} {names[best]}") for j, side in enumerate(("with", "without"))]
            place += 2 * len(names)
        return Matrix(tuple(strata), tuple(self._group(name, row) for row, name in chosen))

    def _phi(self, row: int) -> float:
        """Correlation of the feature with being in a group rather than in the next."""
        (a, b), (n, m) = (self._sums[key][row : row + 2].tolist() for key in ("before", "n"))
        spread = (a + b) * (n + m - a - b) * n * m
        return float((a * (m - b) - b * (n - a)) / spread**0.5) if spread > 0 else 0.0

    def _group(self, name: str, row: int) -> Group:
        totals = {key: int(self._sums[key][row]) for key in ("n", "moved", "before", "after")}
        n, moved = totals["n"], totals["moved"]
        sums: dict[str, list[float]] = {key: p[row].tolist() for key, p in self._sums.items() if key not in totals}
        p = [mcnemar(int(a), int(b)) for a, b in zip(sums["only_edit"], sums["only_placebo"], strict=True)]
        adjusted = holm(p)
        changes = tuple(
            Change(
                attribute,
                _mean("change", sums["change"][i], sums["squares"][i], n),
                Score.share("flips", int(sums["flips"][i]), n, higher_is_better=False),
                Score.share("edit", int(sums["edit"][i]), moved),
                Score.share("placebo", int(sums["placebo"][i]), moved),
                int(sums["only_edit"][i]),
                int(sums["only_placebo"][i]),
                p[i],
                adjusted[i],
            )
            for i, attribute in enumerate(self.attributes)
        )
        before, after = (Score.share("target_ratio", totals[key], n) for key in ("before", "after"))
        return Group(name, n, moved, before, after, changes)


def _mean(name: str, total: float, squares: float, n: int) -> Score:
    """Mean of n values in [-1, 1] from their sum and that of their squares, with its normal interval."""
    if n == 0:
        return Score(name, 0.0, -1.0, 1.0, 0, note="no such picture")
    mean = total / n
    half = Z95 * (max(0.0, squares - n * mean * mean) / max(1, n - 1) / n) ** 0.5
    return Score(name, mean, max(-1.0, mean - half), min(1.0, mean + half), n)
