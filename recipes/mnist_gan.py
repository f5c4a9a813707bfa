"""Train `mnist-gan`: a DCGAN against a small discriminator with a gradient penalty.

python recipes/mnist_gan.py        about 20 minutes on one core, resumable

Non-saturating loss (Goodfellow et al. 2014) with R1 (Mescheder et al. 2018); the average of the
generator's weights is shipped. Training has batch norm, without which it is many times slower to
learn; at the end it is folded into the weights. No digit labels or classifier take part.
"""

import argparse
import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from training import (
    MNIST_LICENCE,
    Mnist,
    TrainingState,
    batch_rows,
    load_mnist,
    recipe_command,
    recipe_parser,
    start_recipe,
    step_random,
    train,
    update_average,
    write_zoo_entry,
)

from unfeature.generators.dcgan import DCGAN

NAME = "mnist-gan"
RECIPE = "recipes/mnist_gan.py"
TRAINED_WITH = ("latent_dim", "steps", "batch", "learning_rate", "penalty", "seed")
PENALTY_EVERY = 4  # steps: the penalty is lazy (Karras et al. 2020, appendix B)
STATISTICS_STEP = 2**31  # no training step: the random numbers of the final batch statistics


class Discriminator(nn.Module):
    """Images (n, 1, 28, 28) in [0, 1] -> (n,): higher for what looks real; rows are independent."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),  # (n, 32, 14, 14)
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),  # (n, 64, 7, 7)
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, 128),
            nn.LeakyReLU(0.2),
            nn.Linear(128, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 1, 28, 28) -> scores (n,)."""
        scores: Tensor = self.layers(2 * images - 1)
        return scores.squeeze(1)


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


@dataclass
class GanTraining:
    """The networks, their optimisers and one step of training."""

    options: argparse.Namespace
    images: Tensor

    def __post_init__(self) -> None:
        self.generator = with_batch_norm(DCGAN(self.options.latent_dim))
        self.discriminator = Discriminator()
        for module in (self.generator, self.discriminator):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's own types
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.optimizers = {
            name: torch.optim.Adam(module.parameters(), betas=(0.0, 0.99))
            for name, module in (("g", self.generator), ("d", self.discriminator))
        }

    def state(self, data_sha256: str) -> TrainingState:
        """The resumable state of this training."""
        asked = {key: getattr(self.options, key) for key in TRAINED_WITH}
        return TrainingState(
            self.options.state,
            {**asked, "data": data_sha256},
            {
                "generator": self.generator,
                "discriminator": self.discriminator,
                "average": self.average,
            },
            self.optimizers,
        )

    def one_step(self, step: int) -> dict[str, Tensor]:
        """One update of both networks, from one pass through each.

        The generator's loss softplus(-s) has the gradient -sigmoid(-s) in a score s, the
        discriminator's softplus(s) has sigmoid(s), and scores do not depend on other rows: row by
        row the one is -exp(-s) times the other, so the discriminator is passed backward once.
        """
        asked = self.options
        real = self.images[batch_rows(asked.seed, step, asked.batch, len(self.images))]
        random = step_random(asked.seed, step)
        made = self.generator(torch.randn(asked.batch, asked.latent_dim, generator=random))
        seen = made.detach().requires_grad_()
        made_scores = self.discriminator(seen)
        real.requires_grad_(step % PENALTY_EVERY == 0)
        real_scores = self.discriminator(real)
        critic = F.softplus(-real_scores).mean() + F.softplus(made_scores).mean()
        loss = critic
        if real.requires_grad:
            loss = loss + 0.5 * PENALTY_EVERY * asked.penalty * squared_slope(real_scores, real)
        for optimizer in self.optimizers.values():
            optimizer.param_groups[0]["lr"] = asked.learning_rate * falling(step / asked.steps)
            optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        assert seen.grad is not None
        factor = -torch.exp(-made_scores.detach().clamp(min=-30))
        made.backward(factor.view(-1, 1, 1, 1) * seen.grad)
        for optimizer in self.optimizers.values():
            optimizer.step()
        update_average(self.average, self.generator, decay=min(0.999, step / (step + 10)))
        adversarial = F.softplus(-made_scores.detach()).mean()
        return {"critic": critic.detach(), "adversarial": adversarial}


def squared_slope(scores: Tensor, images: Tensor) -> Tensor:
    """Scalar: mean squared gradient of (n,) scores in their images, R1 (Mescheder et al. 2018)."""
    (slope,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return slope.square().sum(dim=(1, 2, 3)).mean()


def falling(done: float) -> float:
    """Factor on the learning rate: 1 for half of the run, then linear to 0."""
    return min(1.0, 2 - 2 * done)


def train_gan(options: argparse.Namespace, data: Mnist) -> DCGAN:
    """The average of the generator's weights at the end of training, batch norm folded in."""
    training = GanTraining(options, data.train_images)
    train(training.state(data.sha256), options.steps, training.one_step)
    measure_batch_statistics(training.average, options.seed)
    return fold_batch_norm(training.average)


def main() -> None:
    """Parse, train, write."""
    parser = recipe_parser(NAME, "Train the DCGAN-like generator.")
    parser.add_argument("--latent-dim", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of both networks")
    parser.add_argument("--penalty", type=float, default=0.1, help="weight of R1")
    options = parser.parse_args()
    start_recipe(options.seed, options.threads)
    data = load_mnist(options.data)
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
