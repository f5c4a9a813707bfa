"""Measure a shipped generator with a public digit classifier that no recipe trained on.

python recipes/quality.py mnist-vae        about 10 s; writes the numbers into the card
"""

import argparse
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from training import ZOO, Mnist, assets_folder, default_data_path, load_mnist, write_card

from unfeature.generators.loading import build
from unfeature.protocols import Generator
from unfeature.seeds import stream

SURE = 0.9  # a picture counts as a digit where the largest probability is above this
LOWEST_SHARE, HIGHEST_SHARE = 0.05, 0.20  # of one digit among the samples


class LeNet(nn.Module):
    """The public classifier of csinva/gan-vae-pretrained-pytorch; images (n, 1, 28, 28) or larger in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c3, self.c5 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5), nn.Conv2d(16, 120, 5)
        self.f6, self.f7 = nn.Linear(120, 84), nn.Linear(84, 10)

    def features(self, images: Tensor) -> Tensor:
        """(n, 84): what the class scores are a linear function of. Of images with a border, the middle 28x28."""
        border = (images.shape[-1] - 28) // 2
        images = images[:, :, border : border + 28, border : border + 28]
        picture = F.interpolate(images, (32, 32), mode="bilinear", align_corners=False)
        picture = F.max_pool2d(F.relu(self.c1(picture)), 2)
        picture = F.max_pool2d(F.relu(self.c3(picture)), 2)
        return F.relu(self.f6(F.relu(self.c5(picture)).flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """(n, 10): the probabilities of the digits."""
        return torch.softmax(self.f7(self.features(images)), dim=1)


def load_lenet(path: Path) -> LeNet:
    """The classifier; its keys may have prefixes, the last two parts name layer and tensor."""
    stored = safetensors.torch.load_file(path)
    lenet = LeNet()
    lenet.load_state_dict({".".join(key.split(".")[-2:]): value for key, value in stored.items()})
    return lenet.eval()


def load_zoo_generator(card: dict[str, Any], folder: Path) -> Generator:
    """The generator of a card in any folder, its weights checked against the card's hash."""
    weights = (folder / f"{card['name']}.safetensors").read_bytes()
    if hashlib.sha256(weights).hexdigest() != card["sha256"]:
        raise SystemExit(f"{card['name']}.safetensors is not the file of its card; train it again.")
    return build(card, safetensors.torch.load(weights), card["name"])


def in_batches(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """function(rows), 500 at a time."""
    return torch.cat([function(batch) for batch in torch.split(rows, 500)])


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Squared Wasserstein-2 distance of the Gaussians fitted to (n, k) and (m, k) features."""
    one, other = one.double(), other.double()
    covariance, other_covariance = torch.cov(one.T), torch.cov(other.T)
    root = square_root(covariance)
    cross = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0).sqrt().sum()
    shift = (one.mean(0) - other.mean(0)).square().sum()
    return float(shift + covariance.trace() + other_covariance.trace() - 2 * cross)


def square_root(matrix: Tensor) -> Tensor:
    """The symmetric root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def measure(generator: Generator, lenet: LeNet, data: Mnist, samples: int, seed: int) -> dict[str, Any]:
    """The `quality` of a card: sureness, shares of the digits, distance to one half of MNIST.

    The distance of as many real images of the other half stands beside it.
    """
    random = torch.Generator().manual_seed(seed)
    latents = generator.sample_latents(stream("quality", seed, 0, samples))
    images = in_batches(generator.synthesize, latents)
    probabilities = in_batches(lenet, images)
    order = torch.randperm(len(data.train_images), generator=random)
    half = len(order) // 2
    reference = in_batches(lenet.features, data.train_images[order[:half]])
    others = in_batches(lenet.features, data.train_images[order[half:][:samples]])
    real = in_batches(lenet, data.test_images)
    shares = torch.bincount(probabilities.argmax(1), minlength=10).double() / samples
    return {
        "samples": samples,
        "sample_seed": seed,
        "sure_share": sure_share(probabilities),
        "sure_share_of_real_test_digits": sure_share(real),
        "class_shares": [round(share, 4) for share in shares.tolist()],
        "frechet_distance": round(frechet_distance(in_batches(lenet.features, images), reference), 3),
        "frechet_distance_of_real_half": round(frechet_distance(others, reference), 3),
        "classifier_accuracy": float((real.argmax(1) == data.test_labels).double().mean()),
    }


def sure_share(probabilities: Tensor) -> float:
    """Share of the rows of (n, 10) whose largest probability is above 0.9."""
    return float((probabilities.amax(1) > SURE).double().mean())


def print_quality(name: str, quality: dict[str, Any]) -> None:
    """A table of the numbers beside those of real digits, and any digit outside its bar."""
    table = Table("", name, "real digits", title=f"{quality['samples']:,} samples")
    table.add_row(
        f"classifier > {SURE} sure",
        f"{quality['sure_share']:.2%}",
        f"{quality['sure_share_of_real_test_digits']:.2%}",
    )
    table.add_row(
        "Fréchet distance, 84 LeNet features",
        f"{quality['frechet_distance']:.2f}",
        f"{quality['frechet_distance_of_real_half']:.2f}",
    )
    table.add_row("share of 0 ... 9", " ".join(f"{s:.1%}" for s in quality["class_shares"]), "")
    console = Console(width=120)
    console.print(table)
    console.print(f"the classifier is right on {quality['classifier_accuracy']:.2%} of real digits")
    for digit, share in enumerate(quality["class_shares"]):
        if not LOWEST_SHARE <= share <= HIGHEST_SHARE:
            console.print(f"digit {digit} has {share:.1%}, outside {LOWEST_SHARE:.0%}-20%")


def main() -> None:
    """Parse, measure, write into the card, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a generator of the zoo, e.g. mnist-vae")
    parser.add_argument("--zoo", type=Path, default=ZOO)
    parser.add_argument("--data", type=Path, default=default_data_path())
    lenet_path = assets_folder() / "networks" / "mnist_lenet.safetensors"
    parser.add_argument("--lenet", type=Path, default=lenet_path)
    parser.add_argument("--samples", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0, help="of the latents")
    options = parser.parse_args()
    path = options.zoo / f"{options.name}.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    with torch.inference_mode():
        quality = measure(
            load_zoo_generator(card, options.zoo),
            load_lenet(options.lenet),
            load_mnist(options.data),
            options.samples,
            options.seed,
        )
    quality["classifier"] = hashlib.sha256(options.lenet.read_bytes()).hexdigest()
    quality["command"] = f"python recipes/quality.py {options.name} --samples {options.samples} --seed {options.seed}"
    write_card(path, {**card, "quality": quality})
    print_quality(options.name, quality)


if __name__ == "__main__":
    main()
