"""What the GAN recipes share: discriminator, loss and one step of both networks.

Non-saturating loss (Goodfellow et al. 2014) with R1 (Mescheder et al. 2018); the average of the generator's weights is
what is shipped. No digit labels or classifier take part.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training import TrainingState, batch_rows, step_random, update_average

PENALTY_EVERY = 4  # steps: the penalty is lazy (Karras et al. 2020, appendix B)


class Discriminator(nn.Module):
    """Images (n, 1, side, side) in [0, 1] -> (n,): higher for what looks real; rows are independent."""

    def __init__(self, side: int = 28) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),  # (n, 32, side / 2, side / 2)
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),  # (n, 64, side / 4, side / 4)
            nn.Flatten(),
            nn.Linear(64 * (side // 4) ** 2, 128),
            nn.LeakyReLU(0.2),
            nn.Linear(128, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 1, side, side) -> scores (n,)."""
        scores: Tensor = self.layers(2 * images - 1)
        return scores.squeeze(1)


@dataclass
class GanTraining:
    """Generator, discriminator, their optimisers and one step of training."""

    generator: nn.Module
    make: Callable[[Tensor], Tensor]
    """Latents (n, latent_dim) to images through `generator`; near [0, 1]."""
    images: Tensor
    latent_dim: int
    steps: int
    batch: int
    learning_rate: float
    penalty: float
    seed: int
    generator_rate: float = 0.0
    """The generator's learning rate where it is not `learning_rate`."""

    def __post_init__(self) -> None:
        self.discriminator = Discriminator(self.images.shape[-1])
        for module in (self.generator, self.discriminator):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's own types
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.rates = {"g": self.generator_rate or self.learning_rate, "d": self.learning_rate}
        self.optimizers = {
            name: torch.optim.Adam(module.parameters(), betas=(0.0, 0.99))
            for name, module in (("g", self.generator), ("d", self.discriminator))
        }

    def state(self, path: Path, asked: Mapping[str, Any]) -> TrainingState:
        """The resumable state of this training."""
        modules = {"generator": self.generator, "discriminator": self.discriminator, "average": self.average}
        return TrainingState(path, asked, modules, self.optimizers)

    def one_step(self, step: int) -> dict[str, Tensor]:
        """One update of both networks, from one pass through each.

        The generator's loss softplus(-s) has the gradient -sigmoid(-s) in a score s, the
        discriminator's softplus(s) has sigmoid(s), and scores do not depend on other rows: row by
        row the one is -exp(-s) times the other, so the discriminator is passed backward once.
        """
        real = self.images[batch_rows(self.seed, step, self.batch, len(self.images))]
        random = step_random(self.seed, step)
        made = self.make(torch.randn(self.batch, self.latent_dim, generator=random))
        seen = made.detach().requires_grad_()
        made_scores = self.discriminator(seen)
        real.requires_grad_(step % PENALTY_EVERY == 0)
        real_scores = self.discriminator(real)
        critic = F.softplus(-real_scores).mean() + F.softplus(made_scores).mean()
        loss = critic
        if real.requires_grad:
            loss = loss + 0.5 * PENALTY_EVERY * self.penalty * squared_slope(real_scores, real)
        for name, optimizer in self.optimizers.items():
            optimizer.param_groups[0]["lr"] = self.rates[name] * falling(step / self.steps)
            optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        assert seen.grad is not None
        factor = -torch.exp(-made_scores.detach().clamp(min=-30))
        torch.autograd.backward(made, factor.view(-1, 1, 1, 1) * seen.grad)
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
