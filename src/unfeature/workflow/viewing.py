"""A run as somebody looks at it: pictures, what the marks are good for, teachers of any strength, before and after.

Reads the run folder and holds no lock: nothing here writes. What is costly is kept between calls.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfeature import teacher
from unfeature.artifacts import Feedback
from unfeature.drawing import batches, drawn, made, shows
from unfeature.errors import MissingStep, NotEnoughFeedback
from unfeature.features import FINDERS
from unfeature.features.advice import advise
from unfeature.features.guides import ProbeJudge
from unfeature.features.linear import LinearFeature
from unfeature.features.noise import doubtful
from unfeature.features.probes import Probe, fit_probe
from unfeature.features.suggestions import suggest
from unfeature.features.views import SPACES, Space, drawn_small
from unfeature.generators.filling import fill
from unfeature.images import Pixels, rows_at_once, sheet, to_cells
from unfeature.options import FLIPS, FindOptions
from unfeature.protocols import Extractor, Judge
from unfeature.reports.words import percent, percent_range, with_range
from unfeature.seeds import Seeds, stream
from unfeature.store import Run, TrainingState
from unfeature.tables import resolve
from unfeature.workflow import inputs, strengths

COLUMNS, SHEET = 8, 64
"""Pictures in a row and on a sheet."""

POOL, SUGGESTED, LEARNT = 2000, 64, 1000
"""Pictures of the wall that a probe scores, how many of them it suggests, and marks of a side that it learns from."""

SAMPLES, SAMPLE_PIXELS, SECONDS = 3000, 2**22, 4.0
"""Fresh samples on which strengths are measured, fewer of large ones; how long that may take."""

COMPARED, COMPARED_PIXELS = 500, 2**22
"""Pairs before and after, fewer of large ones."""


class Viewer:
    """One run folder, looked at."""

    def __init__(self, folder: str | Path) -> None:
        self.run = Run(Path(folder))
        self.generator, self.about = inputs.the_generator(self.run)
        self.request = self.run.read_as("request.json", inputs.Request)
        self._kept: dict[str, tuple[Any, Any]] = {}

    def wall(self, sheet_number: int) -> bytes:
        """PNG of gallery pictures 64 k to 64 k + 63, eight in a row."""
        return self.pictures(self._gallery(SHEET * sheet_number, SHEET * (sheet_number + 1)).tolist())

    def pictures(self, seeds: list[int]) -> bytes:
        """PNG of the pictures of these seeds, eight in a row."""
        cells = [to_cells(part) for _, part in batches(self.generator, np.array(seeds, dtype=np.int64))]
        return sheet(np.concatenate(cells), COLUMNS)

    def advice(self) -> dict[str, Any]:
        """What the marks so far are good for."""
        feedback = self._feedback()
        told = advise(self._latents(feedback.positives), self._latents(feedback.negatives))
        return {"sentence": told.sentence, "enough": told.enough, "more": told.more, "agreement": told.agreement}

    def suggest(self) -> dict[str, Any]:
        """Which pictures to mark next, by likeness or doubt, and which marks to look at again; NotEnoughFeedback."""
        probe, marked, labels = self._probe()
        latents, images = self._pool()
        scores = probe.score(latents, images)
        order = np.argsort(-scores, kind="stable")
        base = int(self._gallery(0, 1)[0])
        feedback = self._feedback()
        known = {seed - base for seed in (*feedback.positives, *feedback.negatives, *feedback.unsure)}
        free = np.array([i for i in range(len(scores)) if i not in known], dtype=np.int64)
        chosen, at_random = suggest(scores[free], latents[free], count=SUGGESTED, seed=self.about.seed)
        again = doubtful(labels, probe.held_out)
        sides = {True: "shows", False: "without"}
        precision = probe.precision
        told = f"{percent(precision.value)} do ({percent_range(precision.low, precision.high)})" if precision.n else ""
        told = f"of pictures it takes for ones that show it, {told}" if told else "it is sure of no picture yet"
        return {
            "sentence": f"Learnt from your marks and tried on marks it was not given: {told}.",
            "spaces": list(probe.spaces),
            "auc": probe.auc,
            "precision": precision.to_json() if precision.n else None,
            "recall": probe.recall.value,
            "order": order.tolist(),
            "scores": scores[order].round(4).tolist(),
            "suggested": free[chosen].tolist(),
            "random": free[at_random].tolist(),
            "doubtful": [
                {"index": marked[i] - base, "mark": sides[bool(labels[i])], "score": round(float(probe.held_out[i]), 4)}
                for i in again
            ],
        }

    def front(self) -> dict[str, Any]:
        """Teachers over a grid of thresholds and margins, measured by the run's judge, else by a probe of the marks."""
        guide = self._judge() is None
        found = self._keep("strengths", self._feedback().id, self._measure)
        best, wanted = found.points[found.recommended], self.request.wanted_ratio
        assert best.ratio is not None and best.ratio_before is not None
        told = (
            f"{percent(best.ratio_before.value)} show it now; the recommended strength leaves {with_range(best.ratio)}"
        )
        if not found.reached:
            told += f". No strength tried reaches the wanted {percent(wanted)}"
        return {
            "measured_by": "a probe of your marks" if guide else self.request.judge,
            "guide": guide,
            "n": best.n,
            "wanted": wanted,
            "points": [_point(p.to_json()) for p in found.points],
            "front": list(found.front),
            "recommended": found.recommended,
            "sentence": f"{told} (measured on {best.n:,} fresh pictures).",
        }

    def _measure(self) -> strengths.Strengths:
        judge, wanted = self._judge() or self._guide(), self.request.wanted_ratio
        parts = self.generator, self._feature(), self._fresh(), judge, self._extractor()
        return strengths.measure(*parts, wanted=wanted, seconds=SECONDS)

    def found(self) -> list[str]:
        """What the run's feature says of itself; MissingStep where the marks have no feature yet."""
        feature = inputs.the_feature(self.run, self.generator)[0]
        return feature.told()

    def pairs(self, threshold: float, margin: float) -> bytes:
        """PNG of 16 originals and what they become: eight originals, their teachers, eight more, their teachers."""
        feature = self._feature().adjusted(threshold, margin)
        latents, before = self._shown()
        after = made(self.generator, feature.erase(latents))
        halves = (torch.split(images, COLUMNS) for images in (before, after))
        rows = [part for pair in zip(*halves, strict=True) for part in pair]
        return sheet(to_cells(torch.cat(rows)), COLUMNS)

    def strip(self) -> bytes:
        """PNG of eight originals over what the copy makes of them, as its training was last saved; MissingStep."""
        tensors, _ = self.run.read_tensors(TrainingState.NAME)
        student = self.generator.copy()
        weights = {key.removeprefix("module."): v for key, v in tensors.items() if key.startswith("module.")}
        fill(student.module, weights, TrainingState.NAME)
        latents, before = (part[:COLUMNS] for part in self._shown())
        return sheet(to_cells(torch.cat([before, made(student, latents)])), COLUMNS)

    def compare(self) -> dict[str, Any]:
        """Fresh pictures before and after, by index: edited, untouched, worst first; MissingStep before training."""
        found: dict[str, Any] = self._compared()[2]
        return found

    def compared(self, side: str, sheet_number: int) -> bytes:
        """PNG of compared pictures 64 k to 64 k + 63, "before" or "after"."""
        before, after, _ = self._compared()
        pixels = (after if side == "after" else before)[SHEET * sheet_number : SHEET * (sheet_number + 1)]
        if not len(pixels):
            raise MissingStep(f"there is no sheet {sheet_number} of compared pictures; expected fewer.")
        return sheet(pixels, COLUMNS)

    def _compared(self) -> tuple[Pixels, Pixels, dict[str, Any]]:
        key = self.run.path("unlearned.safetensors").stat().st_mtime_ns if self.run.has("unlearned.safetensors") else 0
        return self._keep("compared", key, self._compare)  # type: ignore[no-any-return]

    def _compare(self) -> tuple[Pixels, Pixels, dict[str, Any]]:
        feature, _ = inputs.the_feature(self.run, self.generator)
        student, _ = inputs.the_unlearned(self.run, self.generator)
        count = rows_at_once(self.generator.spec.image_shape, COMPARED_PIXELS, SHEET, COMPARED)
        seeds, judge = stream("compare", self.about.seed, 0, count), self._judge()
        cells: list[tuple[Pixels, Pixels]] = []
        seen: list[tuple[Tensor, ...]] = []
        for (latents, before), (_, after) in zip(batches(self.generator, seeds), batches(student, seeds), strict=True):
            change, flagged = (after - before).abs().mean(dim=(1, 2, 3)), feature.contains(latents)
            seen.append((change, flagged, *(shows(judge, x) if judge else flagged for x in (before, after))))
            cells.append((to_cells(before), to_cells(after)))
        change, flagged, *shown = (torch.cat(part) for part in zip(*seen, strict=True))
        rows = torch.arange(count)
        told: dict[str, Any] = {
            "n": count,
            "edited": rows[flagged].tolist(),
            "untouched": rows[~flagged].tolist(),
            "worst": change.argsort(descending=True, stable=True).tolist(),
            "change": [round(value, 5) for value in change.tolist()],
        }
        told |= {
            key: rows[part].tolist() if judge else None for key, part in zip(("shows", "after"), shown, strict=True)
        }
        sides = (np.concatenate(side) for side in zip(*cells, strict=True))
        return next(sides), next(sides), told

    def _keep(self, name: str, key: Any, make: Any) -> Any:
        """What was made last under that name, or made anew where the key has changed."""
        if name not in self._kept or self._kept[name][0] != key:
            self._kept[name] = key, make()
        return self._kept[name][1]

    def _gallery(self, start: int, stop: int) -> Seeds:
        return stream("gallery", self.about.seed, start, stop)

    def _latents(self, seeds: tuple[int, ...]) -> Tensor:
        return self.generator.sample_latents(np.array(seeds, dtype=np.int64))

    def _feedback(self) -> Feedback:
        """The marks there now; none where they are of another generator's pictures."""
        nothing = Feedback(self.request.feature, self.generator.spec.id, (), ())
        found = self.run.read_as("feedback.json", Feedback) if self.run.has("feedback.json") else nothing
        return found if found.generator == nothing.generator else nothing

    def _feature(self) -> LinearFeature:
        """The direction of the marks as they are now, with the paper's threshold; NotEnoughFeedback."""
        feedback = self._feedback()
        gallery = inputs.the_gallery(self.run, self.generator)
        return self._keep(  # type: ignore[no-any-return]
            "feature",
            (feedback.id, len(gallery.seeds)),
            lambda: resolve("finder", FINDERS, "linear")(FindOptions()).find(self.generator, gallery, feedback),
        )

    def _probe(
        self, spaces: tuple[Space, ...] = SPACES
    ) -> tuple[Probe, list[int], np.ndarray[Any, np.dtype[np.bool_]]]:
        """A probe of the marks, the marked seeds and whether each shows it."""
        feedback = self._feedback()
        if not feedback.positives or not feedback.negatives:
            sides = len(feedback.positives), len(feedback.negatives)
            raise NotEnoughFeedback(feedback.feature, *sides, self.run.quoted)
        seeds = [*feedback.positives[:LEARNT], *feedback.negatives[:LEARNT]]
        labels = np.arange(len(seeds)) < len(feedback.positives[:LEARNT])

        def fit() -> Probe:
            marked = drawn_small(self.generator, np.array(seeds, dtype=np.int64))
            return fit_probe(*marked, labels, seed=self.about.seed, spaces=spaces)

        return self._keep(f"probe {spaces}", feedback.id, fit), seeds, labels

    def _guide(self) -> Judge:
        """A probe of pixels: one of latents would only see how far they were moved."""
        return ProbeJudge(self._probe(("pixels",))[0])

    def _judge(self) -> Judge | None:
        return self._keep(  # type: ignore[no-any-return]
            "judge", self.request.judge, lambda: inputs.the_judge(self.run, self.generator, self.about.seed)
        )

    def _extractor(self) -> Extractor | None:
        """The shipped network where it may know such pictures: flips are told only there."""
        grey = self.generator.spec.image_shape[0] == 1
        made: Extractor | None = self._keep(
            "extractor", 0, lambda: inputs.the_extractor(FLIPS, self.generator) if grey else None
        )
        return made

    def _pool(self) -> tuple[Tensor, Tensor]:
        count = rows_at_once(self.generator.spec.image_shape, SAMPLE_PIXELS, SHEET, POOL)
        return self._keep("pool", 0, lambda: drawn_small(self.generator, self._gallery(0, count)))  # type: ignore[no-any-return]

    def _fresh(self) -> teacher.Sample:
        """Samples that nobody marked, judged once."""
        count = rows_at_once(self.generator.spec.image_shape, SAMPLE_PIXELS, 3 * strengths.LEAST, SAMPLES)
        judge = self._judge() or self._guide()
        key = self._feedback().id if self._judge() is None else ""
        made = lambda: teacher.draw(self.generator, judge, self._extractor(), count, self.about.seed)  # noqa: E731
        return self._keep("fresh", key, made)  # type: ignore[no-any-return]

    def _shown(self) -> tuple[Tensor, Tensor]:
        """Latents (16, d) and pictures: the first marked ones, then the first of the wall."""
        seeds = [*self._feedback().positives, *self._gallery(0, 4 * COLUMNS).tolist()]
        first = tuple(dict.fromkeys(seeds))[: 2 * COLUMNS]
        return self._keep("shown", first, lambda: drawn(self.generator, np.array(first, dtype=np.int64)))  # type: ignore[no-any-return]


def _point(preview: dict[str, Any]) -> dict[str, Any]:
    """A teacher's figures, as short as a page needs them."""
    ratio, flips = preview["ratio"], preview["flips_rest"]
    return {
        "threshold": preview["threshold"],
        "margin": preview["margin"],
        "ratio": {key: ratio[key] for key in ("value", "low", "high")},
        "before": preview["ratio_before"]["value"],
        "rewritten": preview["rewritten"]["value"],
        "drift": preview["drift_rest"]["value"],
        "flips": flips["value"] if flips else None,
    }
