"""Judges of face_gan36's tight crops, for the two features that were marked by eye (benchmarks/marks).

`teeth` is network b's "Smiling", the attribute of celeba.py that agrees best with the marks among those of the mouth.
The network was trained on whole frames: a crop is put where CelebA has the eyes and the mouth, its border drawn out (of
25 such placements and fillings, the one that agrees best with the marks). `teeth_a` is network a in the same place.
`orange` is a colour: red minus blue, averaged over the picture. How often each is right and wrong on the sure marks
stands in `about`; tests/test_faces.py measures it again.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from celeba import Judge
from torch import Tensor

CUT = 0.28
"""Of red minus blue, in [-1, 1]: where `orange` agrees best with the marks."""
SOFT = 0.01
"""How far from the cut the score of `orange` is 0.73 or 0.27."""


def framed(crops: Tensor) -> Tensor:
    """(n, 3, 36, 36) -> (n, 3, 64, 64): eyes and mouth where CelebA has them, the border's colours drawn outwards."""
    face = F.interpolate(crops, (28, 32), mode="bilinear", antialias=True)
    return F.pad(face, (16, 16, 23, 13), mode="replicate")


class Smiling:
    """Network a or b on framed crops."""

    def __init__(self, letter: str, rates: tuple[float, float]) -> None:
        self.judge = Judge(letter, "Smiling")
        self.attributes = self.judge.attributes
        told = dict(zip(("true_positive_rate", "false_positive_rate"), rates, strict=True))
        self.about: Mapping[str, Any] = (
            self.judge.about | told | {"agrees with": "353 marks by eye, teeth shown or not"}
        )

    def attribute_scores(self, images: Tensor) -> Tensor:
        """(n, 3, 36, 36) in [0, 1] -> (n, 40) in [0, 1]."""
        return self.judge.attribute_scores(framed(images))

    def score(self, images: Tensor) -> Tensor:
        """(n, 3, 36, 36) in [0, 1] -> (n,) in [0, 1]."""
        return self.judge.score(framed(images))


class Orange:
    """The picture's mean colour; the other attributes are network b's."""

    def __init__(self) -> None:
        self.judge = Judge("b", "Smiling")
        self.attributes = self.judge.attributes
        self.about: Mapping[str, Any] = {
            "name": f"red minus blue of at least {CUT}",
            "true_positive_rate": 0.825,
            "false_positive_rate": 0.025,
            "agrees with": "423 marks by eye, orange light or not",
            "other attributes by": self.judge.about["name"].partition(",")[0],
        }

    def attribute_scores(self, images: Tensor) -> Tensor:
        """(n, 3, 36, 36) in [0, 1] -> (n, 40) in [0, 1]."""
        return self.judge.attribute_scores(framed(images))

    def score(self, images: Tensor) -> Tensor:
        """(n, 3, 36, 36) in [0, 1] -> (n,) in [0, 1]."""
        return (((images[:, 0] - images[:, 2]).mean(dim=(1, 2)) - CUT) / SOFT).sigmoid()


MADE: dict[str, Callable[[], Smiling | Orange]] = {
    "teeth": lambda: Smiling("b", (0.732, 0.251)),
    "teeth_a": lambda: Smiling("a", (0.819, 0.181)),
    "orange": Orange,
}


def __getattr__(name: str) -> Smiling | Orange:
    if name not in MADE:
        raise AttributeError(name)
    return MADE[name]()
