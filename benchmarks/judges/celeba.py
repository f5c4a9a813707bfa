"""Judges of faces, one for each of CelebA's 40 attributes:  --by celeba.py:a_Bangs --judge celeba.py:b_Bangs"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
import torch.nn.functional as F
from torch import Tensor


def logits_a(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """Four strided convolutions with batch norm: (n, 3, 64, 64) in [-1, 1] -> (n, 40)."""
    for i in range(4):
        mean, var, scale, shift = (w[f"norm.{i}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        x = F.batch_norm(F.conv2d(x, w[f"conv.{i}.weight"], stride=2, padding=1), mean, var, scale, shift).relu()
    return F.linear(x.flatten(1), w["head.weight"], w["head.bias"])


def logits_b(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """Three residual blocks with group norm: (n, 3, 64, 64) in [-1, 1] -> (n, 40)."""
    x = F.conv2d(x, w["stem.weight"], stride=2, padding=2)
    x = F.silu(F.group_norm(x, 8, w["n.weight"], w["n.bias"]))
    for i in (f"blocks.{number}" for number in range(3)):
        y = F.conv2d(x, w[f"{i}.c1.weight"], stride=2, padding=1)
        y = F.silu(F.group_norm(y, 8, w[f"{i}.n1.weight"], w[f"{i}.n1.bias"]))
        y = F.group_norm(F.conv2d(y, w[f"{i}.c2.weight"], padding=1), 8, w[f"{i}.n2.weight"], w[f"{i}.n2.bias"])
        x = F.silu(y + F.conv2d(x, w[f"{i}.sc.weight"], stride=2))
    return F.linear(x.flatten(1), w["head.weight"], w["head.bias"])


class Judge:
    """Network a or b, trained on disjoint halves of the pictures, as judge of one attribute; it tells all 40."""

    def __init__(self, letter: str, attribute: str) -> None:
        data = Path(os.environ["UNFEATURE_ASSETS"], f"networks/celeba_attr_{letter}.safetensors").read_bytes()
        told = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        self.weights = {name: value.float() for name, value in safetensors.torch.load(data).items()}
        self.attributes, self.logits = tuple(told["attributes"].split(",")), logits_a if letter == "a" else logits_b
        self.about: dict[str, Any] = {"name": f"celeba_attr_{letter}, {attribute}", "attribute": attribute}
        self.about |= {"held-out AUC": json.loads(told["test_auc"])[attribute], "stands on": told["source"]}
        self.about |= {"sha256": hashlib.sha256(data).hexdigest()}

    def attribute_scores(self, images: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) in [0, 1] -> (n, 40) in [0, 1]; other sizes are made 64x64."""
        x = F.interpolate(images.expand(-1, 3, -1, -1), (64, 64), mode="bilinear", antialias=True)
        return self.logits(self.weights, 2 * x - 1).sigmoid()

    def score(self, images: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) in [0, 1] -> (n,) in [0, 1]."""
        return self.attribute_scores(images)[:, self.attributes.index(self.about["attribute"])]


def __getattr__(name: str) -> Judge:
    if name[:2] not in {"a_", "b_"}:
        raise AttributeError(name)
    return Judge(name[0], name[2:])
