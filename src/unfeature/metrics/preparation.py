"""Pictures as an image-and-text model wants them: resized, cropped and standardised as its folder says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from unfeature.errors import BadFile

FILES = ("preprocessor_config.json", "processor_config.json")
"""Where the settings stand: in the older file alone, in the newer one below `image_processor`."""

FILTERS = {2: "bilinear", 3: "bicubic"}
"""Number of PIL's resampling filter -> torch's name."""

UNKNOWN = ("do_pad", "do_flip_channel_order", "do_reduce_labels", "do_thumbnail", "do_align_long_axis")
"""Settings that would change a picture in ways that are not done here."""


@dataclass(frozen=True)
class Preparation:
    """What is done to a picture before a model looks at it."""

    edge: int | None
    """The shorter side after resizing; None where `size` says both."""
    size: tuple[int, int] | None
    """(h, w) after resizing; None where nothing, or only the shorter side, is resized."""
    filter: str
    crop: tuple[int, int] | None
    """(h, w) cut out of the middle."""
    scale: float
    """What a pixel of 0 to 255 is multiplied with."""
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The settings in a model's folder; BadFile."""
        for name in FILES:
            path = folder / name
            if path.is_file():
                try:
                    value = json.loads(path.read_text(encoding="utf-8"))
                    return cls.of(value.get("image_processor", value))
                except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
                    raise BadFile(
                        f"{path} does not say how to prepare pictures ({error}); expected size, crop_size, image_mean "
                        "and image_std. Copy it again from where the model came from."
                    ) from error
        raise BadFile(f"{folder} has no {FILES[0]}; expected the folder of a model as `save_pretrained` writes it.")

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """From the settings themselves; what is left out is as in CLIP. ValueError for what is not known here."""
        strange = [name for name in UNKNOWN if told.get(name)]
        if strange:
            raise ValueError(f"{strange[0]} is not known here")
        size = told.get("size", {"shortest_edge": 224}) if told.get("do_resize", True) else {}
        size = {"shortest_edge": size} if isinstance(size, int) else size
        crop = told.get("crop_size", 224) if told.get("do_center_crop", "crop_size" in told) else None
        crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
        if size and not ({"shortest_edge"} == size.keys() or {"height", "width"} == size.keys()):
            raise ValueError(f"size {size} is not known here")
        standardised = told.get("do_normalize", True)
        return cls(
            int(size["shortest_edge"]) if "shortest_edge" in size else None,
            (int(size["height"]), int(size["width"])) if "height" in size else None,
            FILTERS[told.get("resample", 3)],
            (int(crop["height"]), int(crop["width"])) if crop else None,
            float(told.get("rescale_factor", 1 / 255)) if told.get("do_rescale", True) else 1.0,
            tuple(map(float, told["image_mean"])) if standardised else (0.0,),
            tuple(map(float, told["image_std"])) if standardised else (1.0,),
        )

    def __call__(self, images: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) in [0, 1] -> (n, 3, H, W), as PIL on 8-bit pixels would, to within its rounding."""
        images = images.expand(-1, 3, -1, -1)
        height, width = images.shape[2:]
        size = self.size
        if self.edge is not None:
            short = min(height, width)
            size = int(self.edge * height / short), int(self.edge * width / short)
        if size is not None and size != (height, width):
            for target in ((height, size[1]), size):  # PIL too goes along rows first, and keeps to 8 bits in between
                images = F.interpolate(images, size=target, mode=self.filter, antialias=True).clamp(0, 1)
        if self.crop is not None:
            top, left = ((have - want) // 2 for have, want in zip(images.shape[2:], self.crop, strict=True))
            bottom, right = (
                want + first - have for have, want, first in zip(images.shape[2:], self.crop, (top, left), strict=True)
            )
            images = F.pad(images, (-left, right, -top, bottom))
        mean, std = (torch.tensor(side).to(images).view(1, -1, 1, 1) for side in (self.mean, self.std))
        return (images * (255 * self.scale) - mean) / std
