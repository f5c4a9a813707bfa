"""Pictures for the page: small PNGs inside the file itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unfeature.errors import ShapeError

Batch = NDArray[np.uint8]
"""(m, h, w) or (m, h, w, 3)."""

BUDGET = 380_000
"""Characters all pictures of a page may take together."""
_SIDES = (256, 192, 128, 96, 64, 48, 32)


@dataclass(frozen=True)
class Pictures:
    """Pairs at the same latents, before and after; any of them may be empty."""

    edited_before: Batch
    edited_after: Batch
    moved_before: Batch
    """Never had the feature, yet the edit moves them."""
    moved_after: Batch
    untouched_before: Batch
    untouched_after: Batch

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name))
        for kind in ("edited", "moved", "untouched"):
            before, after = getattr(self, f"{kind}_before"), getattr(self, f"{kind}_after")
            if len(before) != len(after):
                raise ShapeError(
                    f"{len(before)} {kind} pictures before and {len(after)} after; expected pairs. "
                    "Give both for the same latents."
                )


def _check(name: str, batch: NDArray[Any]) -> None:
    """ShapeError unless uint8 (m, h, w), (m, h, w, 3), or empty of whatever shape."""
    fits = batch.ndim == 3 or (batch.ndim == 4 and batch.shape[3] == 3)
    if len(batch) and (batch.dtype != np.uint8 or not fits):
        raise ShapeError(
            f"{name} has shape {batch.shape} and type {batch.dtype}; expected (m, h, w) or (m, h, w, 3) in uint8. "
            "Convert with unfeature.images first."
        )


@dataclass(frozen=True)
class Pair:
    """One latent's picture before and after, as data URIs."""

    number: int
    before: str
    after: str


def pairs(pictures: Pictures) -> tuple[tuple[Pair, ...], tuple[Pair, ...], tuple[Pair, ...], bool]:
    """(edited, moved, untouched, small): the largest that fit the budget; small ones are shown pixel by pixel."""
    batches = [getattr(pictures, field.name) for field in fields(pictures)]
    all_pictures = [picture for batch in batches for picture in batch]
    side = next((side for side in _SIDES if _fits(all_pictures, side)), _SIDES[-1])
    uris = [[_data_uri(picture, side) for picture in batch] for batch in batches]
    longest = max((max(batch.shape[1:3]) for batch in batches if len(batch)), default=0)
    return _paired(*uris[0:2]), _paired(*uris[2:4]), _paired(*uris[4:6]), longest <= 96


def _fits(all_pictures: Sequence[NDArray[np.uint8]], side: int) -> bool:
    """At that size all of them stay within the budget; stops at the first one that does not."""
    total = 0
    for picture in all_pictures:
        total += len(_data_uri(picture, side))
        if total > BUDGET:
            return False
    return True


def _paired(before: Sequence[str], after: Sequence[str]) -> tuple[Pair, ...]:
    return tuple(Pair(i + 1, one, other) for i, (one, other) in enumerate(zip(before, after, strict=True)))


def _data_uri(picture: NDArray[np.uint8], side: int) -> str:
    """A PNG of at most `side` pixels; smaller pictures keep their own size and are enlarged by the page."""
    image = Image.fromarray(picture)
    if max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
