"""Train `mnist-gan`: a DCGAN against a small discriminator with a gradient penalty.

python recipes/mnist_gan.py        about 20 minutes on one core, resumable

Non-saturating loss (Goodfellow et al. 2014) with R1 (Mescheder et al. 2018); the average of the
generator's weights is shipped. Training has batch norm, without which it is many times slower to
learn; at the end it is folded into the weights. No digit labels or classifier take part.
"""

import argparse
import copy

import torch
from adversarial import GanTraining
from rich.console import Console
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from training import (
    MNIST_LICENCE,
    Mnist,
    generator_data,
    generator_parser,
    recipe_command,
    start_recipe,
    step_random,
    train,
    write_zoo_entry,
)

from unfeature.generators.dcgan import DCGAN

NAME = "mnist-gan"
RECIPE = "recipes/mnist_gan.py"
TRAINED_WITH = ("latent_dim", "steps", "batch", "learning_rate", "penalty", "seed")
STATISTICS_STEP = 2**31  # no training step: the random numbers of the final batch statistics


def with_batch_norm(generator: DCGAN) -> DCGAN:
    """A copy with batch norm before every leaky ReLU."""
    normed = copy.deepcopy(generator)
    layers: list[nn.Module] = []
    for layer in normed.layers:
        layers.append(layer)
        if isinstance(layer, nn.Linear):
            layers.append(nn.BatchNorm1d(layer.out_features))
        elif isinstance(layer, nn.ConvTranspose2d):
            layers.append(nn.BatchNorm2d(layer.out_channels))
    normed.layers = nn.Sequential(*layers)
    return normed


def fold_batch_norm(normed: DCGAN) -> DCGAN:
    """A copy in which every batch norm, in evaluation mode, is part of the layer before it."""
    folded = copy.deepcopy(normed).eval()
    layers: list[nn.Module] = []
    for layer in folded.layers:
        if isinstance(layer, nn.BatchNorm1d):
            before = layers.pop()
            assert isinstance(before, nn.Linear)
            layers.append(fuse_linear_bn_eval(before, layer))
        elif isinstance(layer, nn.BatchNorm2d):
            before = layers.pop()
            assert isinstance(before, nn.ConvTranspose2d)
            layers.append(fuse_conv_bn_eval(before, layer, transpose=True))
        else:
            layers.append(layer)
    folded.layers = nn.Sequential(*layers)
    return folded


@torch.no_grad()
def measure_batch_statistics(normed: DCGAN, seed: int, batches: int = 100) -> None:
    """Set the running statistics to those of these very weights, over 500 latents a batch."""
    random = step_random(seed, STATISTICS_STEP)
    for layer in normed.layers:
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over all batches
    normed.train()
    for _ in range(batches):
        normed(torch.randn(500, normed.latent_dim, generator=random))
    normed.eval()


def train_gan(options: argparse.Namespace, data: Mnist) -> DCGAN:
    """The average of the generator's weights at the end of training, batch norm folded in."""
    asked = {key: getattr(options, key) for key in TRAINED_WITH}
    generator = with_batch_norm(DCGAN(options.latent_dim))
    training = GanTraining(generator, generator, data.train_images, **asked)
    train(training.state(options.state, {**asked, "data": data.trained_on}), options.steps, training.one_step)
    average: DCGAN = training.average  # type: ignore[assignment]
    measure_batch_statistics(average, options.seed)
    return fold_batch_norm(average)


def main() -> None:
    """Parse, train, write."""
    parser = generator_parser(NAME, "Train the DCGAN-like generator.")
    parser.add_argument("--latent-dim", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of both networks")
    parser.add_argument("--penalty", type=float, default=0.1, help="weight of R1")
    options = parser.parse_args()
    start_recipe(options.seed, options.threads)
    data = generator_data(options)
    generator = train_gan(options, data)
    card = write_zoo_entry(
        NAME,
        generator,
        {
            "kind": "generator",
            "family": "dcgan",
            "arguments": {"latent_dim": options.latent_dim},
            "latent_dim": options.latent_dim,
            "image_shape": [1, 28, 28],
            "licence": MNIST_LICENCE,
            "trained_on": data.trained_on,
            "recipe": RECIPE,
            "command": recipe_command(RECIPE, parser),
            "seed": options.seed,
            "quality": {},
        },
        options.zoo,
    )
    Console().print(f"wrote {card}; next: python recipes/quality.py {NAME}")


if __name__ == "__main__":
    main()
