"""SqueezeNet v1.0 (Iandola et al. 2016), an ImageNet network: the extractor for natural pictures. Not shipped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfeature.devices import placed
from unfeature.errors import BadFile
from unfeature.once import Once

FIRES = {2: (96, 16, 64), 3: (128, 16, 64), 4: (128, 32, 128), 5: (256, 32, 128), 6: (256, 48, 192)}
FIRES |= {7: (384, 48, 192), 8: (384, 64, 256), 9: (512, 64, 256)}
"""Number -> channels in, squeezed, and of each of the two expansions."""
MEAN = (104.0, 117.0, 123.0)
"""Of blue, green and red in 0..255."""
SIZE = 128
"""Pixels a side. The network was trained at 227, which is too slow for tens of thousands of pictures without a GPU.

Measured on a generator of faces of 64 px, one core: pictures a second, and correlation (of ranks) with 227 of the
Frechet distances between pictures with and without 14 attributes: 227: 22; 160: 53, 0.99 (0.96); 128: 81, 0.98 (0.92);
112: 116, 0.97 (0.90); 64: 747, 0.86 (0.89). The distance itself grows as the size falls: compare equal names only.
"""

PART = 16
"""Pictures looked at together: their maps stay in the caches of a CPU, three times faster than 256 at a time."""


class Fire(nn.Module):
    """Squeezed by 1x1, then expanded by 1x1 and by 3x3, side by side; ReLU after each."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.conv1x1_1 = nn.Conv2d(inputs, squeezed, 1)
        self.conv1x1_2 = nn.Conv2d(squeezed, expanded, 1)
        self.conv3x3_2 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, 2 expanded, h, w)."""
        x = F.relu(self.conv1x1_1(x))
        return F.relu(torch.cat([self.conv1x1_2(x), self.conv3x3_2(x)], dim=1))


class SqueezeNet(nn.Module):
    """Looks at images of any size, resized (bilinear, antialiased) to `size` px, which is part of its name."""

    mean: Tensor

    def __init__(self, size: int = SIZE) -> None:
        super().__init__()
        self.size, self.name, self.hash = size, f"squeezenet10-{size}px", ""
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2)
        self.fires = [f"fire{i}" for i in FIRES]
        for name, sizes in zip(self.fires, FIRES.values(), strict=True):
            self.add_module(name, Fire(*sizes))
        self.conv10 = nn.Conv2d(512, 1000, 1, padding=1)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self._lasts = Once[Tensor]()

    def layers(self, images: Tensor) -> Iterator[Tensor]:
        """(n, 1 or 3, h, w) in [0, 1] -> maps (n, c, h', w') after the first convolution and each fire module.

        They lie where the weights do, unlike all else that it makes: they are large, and what is made of them is small.
        """
        x = images.to(self.mean.device).expand(-1, 3, -1, -1)
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        x = F.relu(self.conv1(255 * x.flip(1) - self.mean))
        yield x
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        for name in self.fires:
            x = self.get_submodule(name)(x)
            yield x
            if name in {"fire4", "fire8"}:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)

    def embed(self, images: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) in [0, 1] -> (n, 512): the mean of the last fire module's maps."""
        return self._last(images).mean(dim=(2, 3)).to(images.device)

    def logits(self, images: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) in [0, 1] -> (n, 1000): scores of ImageNet's classes."""
        return F.relu(self.conv10(self._last(images))).mean(dim=(2, 3)).to(images.device)

    def _last(self, images: Tensor) -> Tensor:
        """(n, 512, h', w'): what both of the above start from, made once for one and the same tensor."""
        return self._lasts.of(images, lambda: torch.cat([self._deepest(part) for part in torch.split(images, PART)]))

    def _deepest(self, images: Tensor) -> Tensor:
        *_, last = self.layers(images)
        return last

    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) twice -> (n,): squared differences of channel-normalised maps, averaged; 0 for equal ones.

        All layers weigh the same: it is not LPIPS (Zhang et al. 2018), whose weights were fitted to people's answers.
        """
        parts = zip(torch.split(one, PART), torch.split(other, PART), strict=True)
        return torch.cat([self._distance(*pair) for pair in parts]).to(one.device)

    def _distance(self, one: Tensor, other: Tensor) -> Tensor:
        gaps = [
            (F.normalize(a) - F.normalize(b)).square().sum(dim=1).mean(dim=(1, 2))
            for a, b in zip(self.layers(one), self.layers(other), strict=True)
        ]
        return torch.stack(gaps).mean(dim=0)


def load_squeezenet() -> SqueezeNet:
    """The network with the public weights in $UNFEATURE_ASSETS; BadFile where they are not there."""
    folder = os.environ.get("UNFEATURE_ASSETS", "")
    path = Path(folder) / "networks" / "squeezenet10.safetensors"
    if not folder or not path.is_file():
        raise BadFile(
            f"the extractor squeezenet is not shipped and {path if folder else '$UNFEATURE_ASSETS'} is not there; "
            "expected its weights. Name their folder in UNFEATURE_ASSETS:  unfeature assets check"
        )
    data = path.read_bytes()
    network = SqueezeNet()
    network.load_state_dict({name: value.float() for name, value in safetensors.torch.load(data).items()})
    network.hash = hashlib.sha256(data).hexdigest()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # 1.7 times faster on a CPU
    return placed(network.eval().requires_grad_(False))
