"""Train `mnist-stylegan2`: a small StyleGAN2 of 32 px, the digits with their border of 2 px.

python recipes/mnist_stylegan2.py        about 35 minutes on one core, resumable

The generator is `unfeature.generators.stylegan2` as it is: equalized learning rate, a mapping network of four layers,
skip architecture. Per-pixel noise is left out: digits have no stochastic texture, and it would only blur their edges.
"""

import argparse

import torch
import torch.nn.functional as F
from adversarial import GanTraining
from rich.console import Console
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

from unfeature.generators.stylegan2 import StyleGAN2

NAME = "mnist-stylegan2"
RECIPE = "recipes/mnist_stylegan2.py"
TRAINED_WITH = ("latent_dim", "steps", "batch", "learning_rate", "generator_rate", "penalty", "seed")
SIZES = {"widths": [64, 64, 32, 16], "channels": 1, "w_dim": 64, "mapping_layers": 4, "has_noise": False}
MEAN_STEP = 2**31  # no training step: the random numbers of the mean w


@torch.no_grad()
def measure_mean_w(generator: StyleGAN2, seed: int, n: int = 100_000) -> None:
    """Set `w_avg`, which truncation pulls towards, to the mean of n mapped latents."""
    latents = torch.randn(n, generator.noise_dim, generator=step_random(seed, MEAN_STEP))
    generator.mapping.w_avg.copy_(generator.mapped(latents).double().mean(dim=0))


def train_gan(options: argparse.Namespace, data: Mnist) -> StyleGAN2:
    """The average of the generator's weights at the end of training."""
    asked = {key: getattr(options, key) for key in TRAINED_WITH}
    generator = StyleGAN2(**SIZES, z_dim=options.latent_dim, clamp=None)  # type: ignore[arg-type]
    images = F.pad(data.train_images, (2, 2, 2, 2))
    training = GanTraining(generator, lambda latents: (generator.signed(latents) + 1) / 2, images, **asked)
    train(training.state(options.state, {**asked, "data": data.trained_on}), options.steps, training.one_step)
    average: StyleGAN2 = training.average  # type: ignore[assignment]
    measure_mean_w(average, options.seed)
    return average


def main() -> None:
    """Parse, train, write."""
    parser = generator_parser(NAME, "Train the small StyleGAN2.")
    parser.add_argument("--latent-dim", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of the discriminator")
    parser.add_argument("--generator-rate", type=float, default=5e-3)
    parser.add_argument("--penalty", type=float, default=1.0, help="weight of R1")
    options = parser.parse_args()
    start_recipe(options.seed, options.threads)
    data = generator_data(options)
    generator = train_gan(options, data)
    card = write_zoo_entry(
        NAME,
        generator,
        {
            "kind": "generator",
            "family": "stylegan2",
            "arguments": {**SIZES, "z_dim": options.latent_dim, "clamp": None},
            "latent_dim": options.latent_dim,
            "image_shape": [1, 32, 32],
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
