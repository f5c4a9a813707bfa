"""The evidence: four rows over fresh seeds, paired at the same latents, streamed so that memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfeature.artifacts import Distribution, Row, Score
from unfeature.errors import BadOption
from unfeature.intervals import mcnemar
from unfeature.judging import BATCH, batches
from unfeature.metrics import METRICS
from unfeature.metrics.distribution import distribution
from unfeature.metrics.judges import CutJudge
from unfeature.metrics.ratio import corrected, declares_rates
from unfeature.protocols import Extractor, Feature, Generator, Judge, Look, Metric, Paired, Reference
from unfeature.seeds import Seeds, normal_rows, stream
from unfeature.tables import resolve

ABOUT = {
    "original": "the generator as it came",
    "filter": "its samples, those with the feature thrown away (rejection filter)",
    "teacher": "the original on erased latents (latent filter); what the copy learns from",
    "unlearned": "the trained copy",
}
"""Row -> what made its images."""

MOST_REJECTED = 50
"""Times `n` samples are drawn in search of feature-free ones before the evaluation gives up."""


@dataclass(frozen=True)
class Seen:
    """A look at images, and the measured values where the judge measures."""

    look: Look
    values: Tensor | None
    """(n,) in the measurement's unit."""

    def keep(self, mask: Tensor) -> Seen:
        """The rows of a (n,) mask."""
        parts = {part.name: getattr(self.look, part.name)[mask] for part in fields(Look)}
        return Seen(Look(**parts), None if self.values is None else self.values[mask])

    def replaced(self, mask: Tensor, other: Seen) -> Seen:
        """A copy whose rows of the mask come from `other`."""
        parts = {}
        for part in fields(Look):
            parts[part.name] = getattr(self.look, part.name).clone()
            parts[part.name][mask] = getattr(other.look, part.name)
        if self.values is None or other.values is None:
            return Seen(Look(**parts), None)
        values = self.values.clone()
        values[mask] = other.values
        return Seen(Look(**parts), values)


class Rows:
    """Metrics and measured values of every row, filled batch by batch."""

    def __init__(self, reference: Reference) -> None:
        self.metrics: dict[str, list[Metric]] = {
            row: [resolve("metric", METRICS, name)(reference) for name in METRICS] for row in ABOUT
        }
        self.values: dict[str, list[Tensor]] = {row: [] for row in ABOUT}

    def update(self, row: str, after: Seen, before: Seen | None, rewritten: Tensor) -> None:
        """Take in one batch of a row; paired metrics sit out where there is no `before`."""
        batch = Paired(after.look, before.look if before is not None else None, rewritten)
        for metric in self.metrics[row]:
            if before is not None or not metric.paired:
                metric.update(batch)
        if after.values is not None:
            self.values[row].append(after.values)

    def finish(self, judge: Judge) -> tuple[Row, ...]:
        """The table's rows."""
        rows: list[Row] = []
        edges: tuple[float, ...] | None = None
        for name, metrics in self.metrics.items():
            scores = [s for metric in metrics if name != "filter" or not metric.paired for s in metric.compute()]
            if declares_rates(judge.about):
                scores += [corrected(s, judge.about) for s in scores if s.name == "target_ratio"]
            shape: Distribution | None = None
            if self.values[name] and isinstance(judge, CutJudge):
                values = torch.cat(self.values[name])
                shape = distribution(values, judge.measurement.unit, judge.cut, edges)
                edges = shape.edges
            rows.append(Row(name, ABOUT[name], {score.name: score for score in scores}, shape))
        return tuple(rows)


class Evaluator:
    """Draws, judges and measures; one object an evaluation."""

    def __init__(
        self, judge: Judge, extractor: Extractor, n: int, seed: int, on_batch: Callable[[int, int], None]
    ) -> None:
        self.judge, self.extractor, self.n, self.seed = judge, extractor, n, seed
        self.seeds: dict[str, list[int]] = {}
        self._on_batch, self._done, self._total = on_batch, 0, 3 * n

    def see(self, images: Tensor) -> Seen:
        """Judge and extractor look at images (m, c, h, w)."""
        values = None
        if isinstance(self.judge, CutJudge):
            values = self.judge.measurement.measure(images)
            shows = values >= self.judge.cut
        else:
            shows = self.judge.score(images) >= 0.5
        with torch.no_grad():
            return Seen(Look(images, shows, self.extractor.embed(images), self.extractor.logits(images)), values)

    def _advance(self, images: int) -> None:
        self._done += images
        self._on_batch(min(self._done, self._total), self._total)

    def _draw(self, purpose: str, generator: Generator) -> Iterator[tuple[Tensor, Seen]]:
        """Feature-free mask and look of batch after batch of the original's samples, until told to stop."""
        for start in range(0, MOST_REJECTED * self.n, BATCH):
            seeds = stream(purpose, self.seed, start, start + BATCH)
            self.seeds[purpose] = [int(stream(purpose, self.seed, 0, 1)[0]), int(seeds[-1])]
            for _, images in batches(generator, seeds):
                seen = self.see(images)
                yield ~seen.look.shows, seen
        raise BadOption(
            f"fewer than {self.n} of {MOST_REJECTED * self.n} samples of the original are free of the feature; "
            "expected a feature that not nearly every picture has. Mark the opposite feature, or name another judge."
        )

    def reference(self, generator: Generator) -> Reference:
        """Embeddings of n samples of the original without the feature, and of n samples as they come."""
        free: list[Tensor] = []
        everything: list[Tensor] = []
        for mask, seen in self._draw("reference", generator):
            free.append(seen.look.embedding[mask])
            everything.append(seen.look.embedding)
            self._advance(len(free[-1]))
            if sum(map(len, free)) >= self.n:
                break
        return Reference(self.extractor.name, torch.cat(free)[: self.n], torch.cat(everything)[: self.n])

    def rejection_filter(self, generator: Generator, rows: Rows) -> None:
        """Fill the row of the original's samples that the judge lets pass: n of them, disjoint from the reference."""
        left = self.n
        for mask, seen in self._draw("filter", generator):
            passed = seen.keep(torch.nonzero(mask).flatten()[:left])
            count = len(passed.look.shows)
            rows.update("filter", passed, None, torch.zeros(count, dtype=torch.bool))
            left -= count
            self._advance(count)
            if left == 0:
                break

    def paired(self, original: Generator, unlearned: Generator, feature: Feature, rows: Rows) -> dict[str, Any]:
        """Fill the rows made at the same latents; returns the flips of edit and placebo on rewritten latents."""
        seeds = stream("evaluate", self.seed, 0, self.n)
        self.seeds["evaluate"] = [int(seeds[0]), int(seeds[-1])]
        flips: list[tuple[Tensor, Tensor]] = []
        for start, (latents, images) in zip(range(0, self.n, BATCH), batches(original, seeds), strict=True):
            flagged = feature.contains(latents).cpu()
            erased = feature.erase(latents)[flagged]
            before = self.see(images)
            with torch.no_grad():
                teacher = before.replaced(flagged, self.see(original.synthesize(erased))) if len(erased) else before
                after = self.see(unlearned.synthesize(latents))
                moved = _placebo(latents[flagged], erased, seeds[start : start + BATCH][flagged.numpy()])
                placebo = self.extractor.logits(original.synthesize(moved)).argmax(1) if len(erased) else None
            for row, seen in (("original", before), ("teacher", teacher), ("unlearned", after)):
                rows.update(row, seen, before, flagged)
            if placebo is not None:
                kept = before.look.logits[flagged].argmax(1)
                flips.append((after.look.logits[flagged].argmax(1) != kept, placebo != kept))
            self._advance(len(images))
        return _compare(flips)


def _placebo(latents: Tensor, erased: Tensor, seeds: Seeds) -> Tensor:
    """(m, d): the latents moved as far as `erased` is, each in a random direction of its own."""
    step = torch.from_numpy(normal_rows(seeds + 1, latents.shape[1])).to(latents)
    length: Tensor = torch.linalg.vector_norm(erased - latents, dim=1, keepdim=True)
    return latents + torch.nn.functional.normalize(step) * length


def _compare(flips: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Class flips of the edit against those of a placebo edit of the same length, with McNemar's test."""
    if not flips:
        return {}
    edit, placebo = (torch.cat(side).cpu().numpy().astype(bool) for side in zip(*flips, strict=True))
    only_edit, only_placebo = int(np.sum(edit & ~placebo)), int(np.sum(placebo & ~edit))
    return {
        "edit": {"flips": int(edit.sum()), "n": len(edit)},
        "placebo": {"flips": int(placebo.sum()), "n": len(placebo)},
        "only_edit": only_edit,
        "only_placebo": only_placebo,
        "mcnemar_p": mcnemar(only_edit, only_placebo),
    }


def floor(rows: tuple[Row, ...]) -> dict[str, Score]:
    """Distances between two disjoint draws of the original's feature-free samples: filter row against reference."""
    kept = next(row for row in rows if row.name == "filter")
    return {
        name: score for name, score in kept.scores.items() if name.startswith(("fd", "kid")) and "_to_all" not in name
    }
