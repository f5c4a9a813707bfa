"""A generator like DCGAN (Radford et al. 2016): linear layers, then transposed convolutions."""

from torch import Tensor, nn

_SIDE = 7  # of the first picture-like tensor; doubled twice
_SLOPE = 0.2  # of the leaky ReLUs


class DCGAN(nn.Module):
    """Latents (n, d) ~ N(0, 1) -> images (n, 1, 28, 28) in [0, 1].

    Two fully connected layers come before the first picture-like tensor, so that a copy can learn a
    kink along one latent direction. No normalisation, so a row never depends on its batch: the
    recipe trains with batch norm and folds it into the weights.
    """

    def __init__(self, latent_dim: int, hidden: int = 256, channels: int = 32) -> None:
        """hidden: width of the linear layers; channels: at 7x7 and 14x14, a quarter at 28x28."""
        super().__init__()
        self.latent_dim = latent_dim
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, hidden),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(hidden, channels * _SIDE * _SIDE),
            nn.LeakyReLU(_SLOPE),
            nn.Unflatten(1, (channels, _SIDE, _SIDE)),
            nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(_SLOPE),  # (n, channels, 14, 14)
            nn.ConvTranspose2d(channels, channels // 4, 4, stride=2, padding=1),
            nn.LeakyReLU(_SLOPE),  # (n, channels / 4, 28, 28)
            nn.Conv2d(channels // 4, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, 1, 28, 28) in [0, 1]."""
        images: Tensor = self.layers(latents)
        return images
