"""Train `mnist-vae`: a convolutional variational autoencoder, sharpened on its prior's samples.

python recipes/mnist_vae.py        about 10 minutes on one free core, resumable

The evidence lower bound (Kingma and Welling 2014) alone gives blurred samples: the first part of
the run trains only it. Then a discriminator of pictures joins, as in VAE-GAN (Larsen et al. 2016):
the decoder's samples of the prior should pass for digits. No digit classifier takes part.
"""

import argparse
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from training import (
    MNIST_LICENCE,
    Mnist,
    TrainingState,
    batch_rows,
    generator_data,
    generator_parser,
    recipe_command,
    start_recipe,
    step_random,
    train,
    update_average,
    write_zoo_entry,
)

from unfeature.generators.conv_vae import ConvDecoder

NAME = "mnist-vae"
RECIPE = "recipes/mnist_vae.py"
TRAINED_WITH = ("latent_dim", "steps", "batch", "beta", "adversarial", "adversarial_from", "seed")


class Encoder(nn.Module):
    """Images (n, 1, 28, 28) in [0, 1] -> mean and log-variance of the latents, (n, d) each."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1),
            nn.ReLU(),  # (n, 16, 14, 14)
            nn.Conv2d(16, 32, 4, stride=2, padding=1),
            nn.ReLU(),  # (n, 32, 7, 7)
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 256),
            nn.ReLU(),
        )
        self.mean = nn.Linear(256, latent_dim)
        self.log_variance = nn.Linear(256, latent_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 1, 28, 28) -> (n, d) mean, (n, d) log-variance."""
        features = self.features(images)
        return self.mean(features), self.log_variance(features).clamp(-10, 4)


class Discriminator(nn.Module):
    """Images (n, 1, 28, 28) -> (n,): higher for what looks real; Lipschitz by spectral norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(1, 16, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),  # (n, 16, 14, 14)
            spectral_norm(nn.Conv2d(16, 32, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.1),  # (n, 32, 7, 7)
            spectral_norm(nn.Conv2d(32, 64, 3, stride=2, padding=1)),
            nn.LeakyReLU(0.1),  # (n, 64, 4, 4)
            nn.Flatten(),
            spectral_norm(nn.Linear(64 * 4 * 4, 1)),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(n, 1, 28, 28) -> (n,)."""
        scores: Tensor = self.layers(images)
        return scores.squeeze(1)


def kl_from_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Scalar, nats per image: KL(N(mean, variance) || N(0, 1)), Kingma and Welling appendix B."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()


def reconstruction(logits: Tensor, images: Tensor) -> Tensor:
    """Scalar, nats per image: the Bernoulli cross-entropy of grey images."""
    return F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)


@dataclass
class VaeTraining:
    """The networks, their optimisers and one step of training."""

    options: argparse.Namespace
    images: Tensor

    def __post_init__(self) -> None:
        d = self.options.latent_dim
        self.encoder, self.decoder = Encoder(d), ConvDecoder(d)
        self.encoder.features.apply(scale_for_relu)
        self.decoder.apply(scale_for_relu)
        self.average = ConvDecoder(d)
        self.average.load_state_dict(self.decoder.state_dict())
        self.discriminator = Discriminator()
        both = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimizer = torch.optim.Adam(both, lr=1e-3)
        self.critic_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=4e-4, betas=(0.5, 0.99))

    def state(self, data: str) -> TrainingState:
        """The resumable state of this training."""
        asked = {key: getattr(self.options, key) for key in TRAINED_WITH}
        return TrainingState(
            self.options.state,
            {**asked, "data": data},
            {
                "encoder": self.encoder,
                "decoder": self.decoder,
                "average": self.average,
                "discriminator": self.discriminator,
            },
            {"both": self.optimizer, "critic": self.critic_optimizer},
        )

    def one_step(self, step: int) -> dict[str, Tensor]:
        """One update of encoder and decoder and, in the second part, of the discriminator."""
        asked, random = self.options, step_random(self.options.seed, step)
        images = self.images[batch_rows(asked.seed, step, asked.batch, len(self.images))]
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-3 * falling(step / asked.steps)
        for group in self.critic_optimizer.param_groups:
            group["lr"] = 4e-4 * falling(step / asked.steps)
        mean, log_variance = self.encoder(images)
        noise = torch.randn(mean.shape, generator=random)
        logits = self.decoder.logits(mean + (0.5 * log_variance).exp() * noise)
        losses = {
            "reconstruction": reconstruction(logits, images),
            "kl": kl_from_prior(mean, log_variance),
        }
        beta = asked.beta * min(1.0, step / (0.05 * asked.steps))  # warm-up: no collapsed latents
        loss = losses["reconstruction"] + beta * losses["kl"]
        if step >= asked.adversarial_from * asked.steps:
            samples = self.decoder(torch.randn(mean.shape, generator=random))
            losses["critic"] = self.update_discriminator(images, samples.detach())
            self.discriminator.requires_grad_(False)
            losses["adversarial"] = -self.discriminator(samples).mean()
            self.discriminator.requires_grad_(True)
            loss = loss + asked.adversarial * losses["adversarial"]
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        update_average(self.average, self.decoder, decay=min(0.999, step / (step + 10)))
        return {name: value.detach() for name, value in losses.items()}

    def update_discriminator(self, images: Tensor, samples: Tensor) -> Tensor:
        """One update with the hinge loss; returns the loss."""
        real, made = self.discriminator(torch.cat([images, samples])).chunk(2)
        loss = F.relu(1 - real).mean() + F.relu(1 + made).mean()
        self.critic_optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.critic_optimizer.step()
        return loss


def scale_for_relu(module: nn.Module) -> None:
    """Initial weights that keep the variance through ReLUs (He et al. 2015), for `Module.apply`."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def falling(done: float) -> float:
    """Factor on the learning rate: 1 for the first half, then linear to 0.1."""
    return min(1.0, 1.9 - 1.8 * done)


def train_vae(options: argparse.Namespace, data: Mnist) -> ConvDecoder:
    """The average of the decoder's weights at the end of training."""
    training = VaeTraining(options, data.train_images)
    train(training.state(data.trained_on), options.steps, training.one_step)
    return training.average


def main() -> None:
    """Parse, train, write."""
    parser = generator_parser(NAME, "Train the convolutional variational autoencoder.")
    parser.add_argument("--latent-dim", type=int, default=12)
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--beta", type=float, default=1.4, help="weight of the KL divergence")
    parser.add_argument("--adversarial", type=float, default=80.0, help="weight, in nats")
    parser.add_argument("--adversarial-from", type=float, default=0.2, help="share of the steps")
    options = parser.parse_args()
    start_recipe(options.seed, options.threads)
    data = generator_data(options)
    decoder = train_vae(options, data)
    card = write_zoo_entry(
        NAME,
        decoder,
        {
            "kind": "generator",
            "family": "conv-vae",
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
    Console().print(f"wrote {card}; next: python recipes/quality.py {NAME}", soft_wrap=True)


if __name__ == "__main__":
    main()
