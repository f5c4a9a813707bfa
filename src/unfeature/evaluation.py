"""The evidence: four rows over fresh seeds, paired at the same latents, streamed so that memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from unfeature.drawing import BATCH, batches, drawn, portions
from unfeature.errors import BadOption
from unfeature.intervals import mcnemar
from unfeature.metrics.judges import CutJudge
from unfeature.metrics.matrix import Kept, MatrixSums, Told
from unfeature.once import known
from unfeature.protocols import AttributeJudge, Extractor, Feature, Generator, Judge, Look, Reference
from unfeature.rows import Rows, Seen
from unfeature.seeds import Seeds, normal_rows, stream

MOST_REJECTED = 50
"""Times `n` samples are drawn in search of feature-free ones before the evaluation gives up."""


class Evaluator:
    """Draws, judges and measures; one object an evaluation."""

    def __init__(
        self,
        judge: Judge,
        extractor: Extractor,
        n: int,
        seed: int,
        on_batch: Callable[[int, int], None],
        *,
        asked: Sequence[str] = (),
        original: str = "",
        teacher: str = "",
    ) -> None:
        """`on_batch` is told how many samples are done, of how many.

        asked: rows of ASKED that are made too. original: all that what is seen in its samples depends on, weights,
        judge, extractor, n and seed; teacher: all that, and the feature. Where they are told their pictures are looked
        at once for all evaluations of a process, as far as KNOWN has room.
        """
        self.asked, self.original, self.teacher = asked, original, teacher
        self.judge, self.extractor, self.n, self.seed = judge, extractor, n, seed
        self.seeds: dict[str, list[int]] = {}
        self._on_batch, self._done, self._total = on_batch, 0, (3 + ("control" in asked)) * n
        names = judge.attributes if isinstance(judge, AttributeJudge) else ()
        self.others = {name: i for i, name in enumerate(names) if name != judge.about.get("attribute")}
        """Attributes other than the feature, and their columns of the judge's scores."""

    def see(self, images: Tensor) -> Seen:
        """Judge and extractor look at images (m, c, h, w)."""
        values = None
        if isinstance(self.judge, CutJudge):
            values = self.judge.measurement.measure(images)
            shows = values >= self.judge.cut
        else:
            shows = self.judge.score(images) >= 0.5
        with torch.no_grad():
            seen, scores = (self.extractor.embed(images), self.extractor.logits(images)), self._scores(images)
        there = None if scores is None else scores >= 0.5
        return Seen(Look(images, shows, *seen, there), values, scores)

    def _scores(self, images: Tensor) -> Tensor | None:
        """(m, c, h, w) -> (m, k) in [0, 1]: the judge on other attributes; None where it tells none."""
        if not self.others or not isinstance(self.judge, AttributeJudge):
            return None
        return self.judge.attribute_scores(images)[:, list(self.others.values())]

    def _told(self, logits: Tensor, scores: Tensor | None) -> Told:
        return Told.of(logits, scores, hasattr(self.extractor, "class_word"))

    def attributes(self, classes: int) -> tuple[str, ...]:
        """Names in the collateral matrix: the judge's, then the extractor's classes where they are the pictures'."""
        word = getattr(self.extractor, "class_word", "")
        return (*self.others, *(f"is {word} {i}" for i in range(classes if word else 0)))

    def _advance(self, images: int) -> None:
        self._done += images
        self._on_batch(min(self._done, self._total), self._total)

    def _draw(self, purpose: str, generator: Generator) -> Iterator[tuple[Tensor, Seen]]:
        """Feature-free mask and look of batch after batch of the original's samples, until told to stop."""
        for start in range(0, MOST_REJECTED * self.n, BATCH):
            seeds = stream(purpose, self.seed, start, start + BATCH)
            self.seeds[purpose] = [int(stream(purpose, self.seed, 0, 1)[0]), int(seeds[-1])]
            for _, seen in self._seen(purpose, generator, seeds):
                yield ~seen.look.shows, seen
        raise BadOption(
            f"fewer than {self.n} of {MOST_REJECTED * self.n} samples of the original are free of the feature; "
            "expected a feature that not nearly every picture has. Mark the opposite feature, or name another judge."
        )

    def _seen(self, purpose: str, generator: Generator, seeds: Seeds) -> Iterator[tuple[Tensor, Seen]]:
        """Latents (m, d) and look of batch after batch of the original's samples."""
        for portion in portions(generator, seeds):
            look = partial(self._look, generator, portion)
            what = (purpose, int(portion[0]), len(portion))
            yield known(self.original, what, look, lambda made: made[0].nbytes + made[1].bytes)

    def _look(self, generator: Generator, seeds: Seeds) -> tuple[Tensor, Seen]:
        latents, images = drawn(generator, seeds)
        return latents, self.see(images)

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
        distance = getattr(self.extractor, "distance", None)
        return Reference(self.extractor.name, torch.cat(free)[: self.n], torch.cat(everything)[: self.n], distance)

    def rows(self, generator: Generator, others: Mapping[str, Judge] | None = None) -> Rows:
        """The table, still empty, its reference drawn; `others` judge other features of the run."""
        names = {"original": self.original, "filter": self.original, "teacher": self.teacher}
        return Rows(self.reference(generator), others, self.asked, names)

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

    def control(self, generator: Generator, rows: Rows) -> None:
        """Fill the row of a generator that never had the feature: n of its samples, as they come."""
        for _, images in batches(generator, stream("evaluate", self.seed, 0, self.n)):
            rows.update("control", self.see(images), None, torch.zeros(len(images), dtype=torch.bool))
            self._advance(len(images))

    def paired(
        self,
        original: Generator,
        copies: Mapping[str, Generator],
        feature: Feature,
        rows: Rows,
        kept: Sequence[Kept] = (),
    ) -> dict[str, Any]:
        """Fill the rows made at the same latents; returns what the edit flips, against a placebo: "matrix", classes.

        `copies` by row: the trained one is "unlearned", whose flips are told. `kept` makes the matrix's strata.
        """
        seeds = stream("evaluate", self.seed, 0, self.n)
        self.seeds["evaluate"] = [int(seeds[0]), int(seeds[-1])]
        flips: list[tuple[Tensor, Tensor]] = []
        sums: MatrixSums | None = None
        start = 0
        for latents, before in self._seen("evaluate", original, seeds):
            images, step = before.look.images, seeds[start : start + len(latents)]
            make = partial(self._erased, original, feature, latents, before, step)
            flagged, teacher, moved = known(self.teacher, ("erased", start), make, lambda made: made[1].bytes)
            with torch.no_grad():
                after = {row: self.see(copy.synthesize(latents)) for row, copy in copies.items()}
                told, now = (self._told(seen.look.logits, seen.scores) for seen in (before, after["unlearned"]))
                placebo = moved or told.rows(flagged)
                sums = sums or MatrixSums(self.attributes(before.look.logits.shape[1]), kept)
                sums.update(told, now, (before.look.shows, after["unlearned"].look.shows), images, flagged, placebo)
            for row, seen in {"original": before, "teacher": teacher, **after}.items():
                rows.update(row, seen, before, flagged, teacher.look.images)
            was = told.likely[flagged]
            flips.append((now.likely[flagged] != was, placebo.likely != was))
            start += len(latents)
            self._advance(len(latents))
        matrix = {"matrix": sums.compute().to_json()} if sums is not None and sums.attributes else {}
        return _compared(flips) | matrix

    @torch.no_grad()
    def _erased(
        self, original: Generator, feature: Feature, latents: Tensor, before: Seen, seeds: Seeds
    ) -> tuple[Tensor, Seen, Told | None]:
        """Which of latents (m, d) the feature flags, (m,) bool; what is seen at them erased; what a placebo makes."""
        flagged = feature.contains(latents).cpu()
        erased = feature.erase(latents)[flagged]
        teacher = before.replaced(flagged, self.see(original.synthesize(erased))) if len(erased) else before
        return flagged, teacher, self._placebo(original, latents[flagged], erased, seeds[flagged.numpy()])

    def _placebo(self, original: Generator, latents: Tensor, erased: Tensor, seeds: Seeds) -> Told | None:
        """What is told of latents (m, d) moved as far as `erased` is, each in a direction of its own; None for none."""
        if not len(latents):
            return None
        step = torch.from_numpy(normal_rows(seeds + 1, latents.shape[1])).to(latents)
        length: Tensor = torch.linalg.vector_norm(erased - latents, dim=1, keepdim=True)
        images = original.synthesize(latents + torch.nn.functional.normalize(step) * length)
        return self._told(self.extractor.logits(images), self._scores(images))


def _compared(flips: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Classes that flipped by the edit against those by a placebo edit of the same length, with McNemar's test."""
    edit, placebo = (torch.cat(side).cpu() for side in zip(*flips, strict=True))
    if not len(edit):
        return {}
    only_edit, only_placebo = int((edit & ~placebo).sum()), int((placebo & ~edit).sum())
    return {
        "edit": {"flips": int(edit.sum()), "n": len(edit)},
        "placebo": {"flips": int(placebo.sum()), "n": len(placebo)},
        "only_edit": only_edit,
        "only_placebo": only_placebo,
        "mcnemar_p": mcnemar(only_edit, only_placebo),
    }
