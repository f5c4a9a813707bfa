"""The public LeNet as the network behind flips and distances of digits:  --extractor benchmarks/judges/lenet.py:load"""

import hashlib
import os
from pathlib import Path

import safetensors.torch
import torch.nn.functional as F
from torch import Tensor


class LeNet:
    """Two convolutions with pooling, one over what is left, two linear layers; 99.1 % on MNIST's test digits."""

    name, class_word = "mnist_lenet", "digit"

    def __init__(self) -> None:
        data = Path(os.environ["UNFEATURE_ASSETS"], "networks/mnist_lenet.safetensors").read_bytes()
        self.hash = hashlib.sha256(data).hexdigest()
        self.weights = {name.split(".", 1)[1]: value.float() for name, value in safetensors.torch.load(data).items()}

    def embed(self, images: Tensor) -> Tensor:
        """(n, 1, h, w) in [0, 1] -> (n, 84); other sizes are made 32x32."""
        w, x = self.weights, images
        if x.shape[-2:] != (32, 32):
            x = F.interpolate(x, (32, 32), mode="bilinear", antialias=x.shape[-1] > 32)
        for layer in ("c1", "c3"):
            x = F.max_pool2d(F.conv2d(x, w[f"{layer}.weight"], w[f"{layer}.bias"]).relu(), 2)
        x = F.conv2d(x, w["c5.weight"], w["c5.bias"]).relu().flatten(1)
        return F.linear(x, w["f6.weight"], w["f6.bias"]).relu()

    def logits(self, images: Tensor) -> Tensor:
        """(n, 1, h, w) in [0, 1] -> (n, 10)."""
        return F.linear(self.embed(images), self.weights["f7.weight"], self.weights["f7.bias"])


load = LeNet
