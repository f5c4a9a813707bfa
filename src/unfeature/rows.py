"""The table of an evaluation: what was seen in each row's images, taken in batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from unfeature.artifacts import OTHER, Distribution, Row, Score
from unfeature.metrics import METRICS
from unfeature.metrics.distribution import distribution
from unfeature.metrics.judges import CutJudge
from unfeature.metrics.ratio import corrected, declares_rates
from unfeature.once import known
from unfeature.protocols import Judge, Look, Metric, Paired, Reference
from unfeature.tables import resolve

ABOUT = {
    "original": "the generator as it came",
    "filter": "its samples, those with the feature thrown away (rejection filter)",
    "control": "the same architecture trained without the feature; its latents mean other pictures",
    "teacher": "the original on erased latents (latent filter); what the copy learns from",
    "instant": "a copy with one layer fitted to the teacher in closed form, without training",
    "unlearned": "the trained copy",
}
"""Row -> what made its images."""

ASKED, ALONE = ("control", "instant"), ("filter", "control")
"""Rows that are there where they are asked for; rows whose images have no pair at the original's latents."""

SCORE = 2**10
"""Bytes that a score is taken for."""


@dataclass(frozen=True)
class Seen:
    """A look at images, and the measured values where the judge measures."""

    look: Look
    values: Tensor | None
    """(n,) in the measurement's unit."""
    scores: Tensor | None = None
    """(n, k) of the judge's other attributes; None where it tells none, and in parts of a batch."""

    def keep(self, mask: Tensor) -> Seen:
        """The rows of a (n,) mask."""
        parts = {name: value[mask] for name, value in self._parts().items()}
        return Seen(Look(**parts), None if self.values is None else self.values[mask])

    def replaced(self, mask: Tensor, other: Seen) -> Seen:
        """A copy whose rows of the mask come from `other`."""
        parts = {name: value.clone() for name, value in self._parts().items()}
        for name, value in other._parts().items():
            parts[name][mask] = value
        if self.values is None or other.values is None:
            return Seen(Look(**parts), None)
        values = self.values.clone()
        values[mask] = other.values
        return Seen(Look(**parts), values)

    @property
    def bytes(self) -> int:
        """In memory."""
        sides = (self.values, self.scores, *self._parts().values())
        return sum(side.nbytes for side in sides if side is not None)

    def _parts(self) -> dict[str, Tensor]:
        """What the look has."""
        told = {part.name: getattr(self.look, part.name) for part in fields(Look)}
        return {name: value for name, value in told.items() if value is not None}


class Rows:
    """Metrics and measured values of every row, filled batch by batch."""

    def __init__(
        self,
        reference: Reference,
        others: Mapping[str, Judge] | None = None,
        asked: Sequence[str] = (),
        names: Mapping[str, str] | None = None,
    ) -> None:
        """`names`: what is known of a row in which no copy has a part, as the Evaluator's `original` and `teacher`."""
        self.names = dict(names or {})
        made = [row for row in ABOUT if row not in ASKED or row in asked]
        self.others = dict(others or {})
        """Feature -> judge of other features that the run answers for."""
        self.shown = {row: dict.fromkeys(self.others, 0) for row in made}
        self.seen = dict.fromkeys(made, 0)
        self.metrics: dict[str, list[Metric]] = {
            row: [resolve("metric", METRICS, name)(reference) for name in METRICS] for row in made
        }
        self.values: dict[str, list[Tensor]] = {row: [] for row in made}

    def update(
        self, row: str, after: Seen, before: Seen | None, rewritten: Tensor, teacher: Tensor | None = None
    ) -> None:
        """Take in one batch of a row; paired metrics sit out where there is no `before`."""
        batch = Paired(after.look, before.look if before is not None else None, rewritten, teacher)
        for metric in self.metrics[row]:
            if before is not None or not metric.paired:
                metric.update(batch)
        for feature, judge in self.others.items():
            self.shown[row][feature] += int((judge.score(after.look.images) >= 0.5).sum())
        self.seen[row] += len(after.look.shows)
        if after.values is not None:
            self.values[row].append(after.values)

    def finish(self, judge: Judge) -> tuple[Row, ...]:
        """The table's rows."""
        rows: list[Row] = []
        edges: tuple[float, ...] | None = None
        for name, metrics in self.metrics.items():
            scores = [s for metric in metrics if name not in ALONE or not metric.paired for s in self._of(name, metric)]
            if declares_rates(judge.about):
                scores += [corrected(s, judge.about) for s in scores if s.name == "target_ratio"]
            shown = self.shown[name].items()
            scores += [Score.share(OTHER + k, hits, self.seen[name], higher_is_better=False) for k, hits in shown]
            shape: Distribution | None = None
            if self.values[name] and isinstance(judge, CutJudge):
                values = torch.cat(self.values[name])
                shape = distribution(values, judge.measurement.unit, judge.cut, edges)
                edges = shape.edges
            rows.append(Row(name, ABOUT[name], {score.name: score for score in scores}, shape))
        return tuple(rows)

    def _of(self, row: str, metric: Metric) -> list[Score]:
        """What a metric tells of a row; known where no copy has a part in it."""
        name = self.names.get("teacher" if metric.paired and row in self.names else row, "")
        return known(name, (row, type(metric)), metric.compute, lambda told: SCORE * len(told))


def floor(rows: tuple[Row, ...]) -> dict[str, Score]:
    """Distances between two disjoint draws of the original's feature-free samples: filter row against reference."""
    kept = next(row for row in rows if row.name == "filter")
    return {
        name: score for name, score in kept.scores.items() if name.startswith(("fd", "kid")) and "_to_all" not in name
    }
