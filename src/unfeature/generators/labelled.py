"""Base of a conditional generator whose labels are drawn too: what each picture was told to show is known exactly."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from unfeature.errors import BadFile

STEEP = 20.0
"""A label is tanh(STEEP * distance from the cut): beyond 0.9 on either side from 0.07 standard deviations on."""
SURE = 0.5
"""Distance from the cut at which a label is 1 or -1 to four digits."""


class Labelled(nn.Module):
    """The last k of a latent's d standard normal coordinates say k labels: correlated, each above 0 at its prevalence.

    It owns no weights, so the names in a checkpoint of the generator built on it stay as they are.
    """

    mixing: Tensor
    cuts: Tensor

    def __init__(self, table: str | Path) -> None:
        """From a JSON file of `attributes` (k names), `prevalence` (k) and `correlation` (k x k). BadFile."""
        super().__init__()
        try:
            read = json.loads(Path(table).read_text(encoding="utf-8"))
            prevalence, correlation = (torch.tensor(read[key]) for key in ("prevalence", "correlation"))
            if not prevalence.shape == correlation.diagonal().shape == (len(read["attributes"]),):
                raise ValueError("their numbers differ")
            if not bool(((prevalence > 0) & (prevalence < 1)).all()):
                raise ValueError("a prevalence outside (0, 1)")
            mixing = torch.linalg.cholesky(correlation)
        except (OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise BadFile(
                f"{table} describes no labels ({error}); expected JSON with attributes (k names), prevalence (k) and "
                "correlation (k x k, positive definite). Mend the file."
            ) from error
        self.attributes: tuple[str, ...] = tuple(read["attributes"])
        self.register_buffer("mixing", mixing, persistent=False)
        self.register_buffer("cuts", torch.special.ndtri(1 - prevalence), persistent=False)

    def depth(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, k): how far above its cut each label's number lies, in standard deviations."""
        return latents[:, -len(self.cuts) :] @ self.mixing.T - self.cuts

    def labels(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, k) in (-1, 1), differentiable."""
        return torch.tanh(STEEP * self.depth(latents))

    def truth(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, k) bool: the attributes each picture was told to have."""
        return self.depth(latents) > 0

    def telling(self, latents: Tensor, attribute: str, shows: bool) -> Tensor:
        """(n, d) -> (n, d): the latents with that label told or not told, every other label as it was."""
        k, place = len(self.cuts), self.attributes.index(attribute)
        wanted = torch.full((len(latents),), SURE if shows else -SURE).to(latents) - self.depth(latents)[:, place]
        lone = torch.zeros(k, 1).to(latents)
        lone[place] = 1.0
        step = torch.linalg.solve_triangular(self.mixing, lone, upper=False)[:, 0]  # moves this label's number alone
        return latents + torch.nn.functional.pad(torch.outer(wanted, step), (latents.shape[1] - k, 0))
