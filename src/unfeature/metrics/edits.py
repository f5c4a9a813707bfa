"""Whether the copy does what its teacher does, so that a low ratio is not a judge deceived."""

from __future__ import annotations

import torch
from torch import Tensor

from unfeature.artifacts import Score
from unfeature.intervals import Z95
from unfeature.metrics.collateral import looked_at_before
from unfeature.protocols import Paired, Reference


class EditMade:
    """Share of the teacher's edit that the row makes, along it: 0 for none of it, 1 for all, over 1 for more.

    sum <f - x, f - t> / sum |f - t|^2 over edited latents, f being the original, t the teacher and x what is measured:
    large edits count for more, as they do to the eye. The interval is that of a ratio of two means (Cochran 1977).
    """

    paired = True

    def __init__(self, reference: Reference) -> None:
        self.made: list[Tensor] = []
        self.wanted: list[Tensor] = []

    def update(self, batch: Paired) -> None:
        """Keep two numbers an edited image; nothing where no teacher's pictures are given."""
        before = looked_at_before(batch, "the share of the edit made")
        if batch.teacher is None:
            return
        old, new, goal = (x[batch.rewritten].detach() for x in (before.images, batch.after.images, batch.teacher))
        edit = (old - goal).flatten(1).double()
        self.made.append(((old - new).flatten(1).double() * edit).sum(dim=1).cpu())
        self.wanted.append(edit.square().sum(dim=1).cpu())

    def compute(self) -> list[Score]:
        """`edit_made`; none where the teacher's pictures were not given, or it changes none."""
        made, wanted = (torch.cat(side) if side else torch.zeros(0) for side in (self.made, self.wanted))
        total = float(wanted.sum())
        if total <= 0:
            return []
        share, n = float(made.sum()) / total, len(wanted)
        half = Z95 * float((made - share * wanted).square().sum().sqrt()) / total * (n / max(n - 1, 1)) ** 0.5
        return [Score("edit_made", share, share - half, share + half, n)]
