"""Train `mnist-digits`, the digit network that probes and finders look through.

python recipes/mnist_digits.py        about 4 minutes on one core, resumable
"""

import argparse
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor
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

from unfeature.metrics.digits import NAME, ConvNet, DigitNet

RECIPE = "recipes/mnist_digits.py"
ARGUMENTS = {"channels": 24, "k": 64}


def augment(images: Tensor, random: torch.Generator) -> Tensor:
    """(n, 1, 28, 28) -> same: turned, sheared, scaled and shifted a little, each image its own way.

    Up to 12 degrees, shear 0.15, scale 0.88-1.12, 2 pixels.
    """
    n = len(images)
    turn, shear, scale, right, down = (2 * torch.rand(5, n, generator=random) - 1).unbind()
    angle = turn * math.radians(12)
    size = 1 + 0.12 * scale
    cos, sin = angle.cos() / size, angle.sin() / size
    rows = [cos, -sin + 0.15 * shear, right * 2 / 14, sin, cos, down * 2 / 14]
    grid = F.affine_grid(torch.stack(rows, dim=1).view(n, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@torch.inference_mode()
def accuracy(network: DigitNet, images: Tensor, labels: Tensor) -> float:
    """Share of images whose largest logit is their label."""
    network.eval()
    guesses = torch.cat([network.logits(batch).argmax(1) for batch in torch.split(images, 500)])
    return float((guesses == labels).double().mean())


def train_digits(options: argparse.Namespace, made: Callable[[], DigitNet], data: Mnist) -> DigitNet:
    """The average of the weights over the last steps of training."""
    network, average = made(), made()
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=options.weight_decay)
    steps = options.epochs * (len(data.train_images) // options.batch)

    def one_step(step: int) -> dict[str, Tensor]:
        rows = batch_rows(options.seed, step, options.batch, len(data.train_images))
        images = augment(data.train_images[rows], step_random(options.seed, step))
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * rise_and_fall(step / steps)
        loss = F.cross_entropy(network.logits(images), data.train_labels[rows])
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        update_average(average, network, decay=min(0.998, step / (step + 10)))
        return {"loss": loss.detach()}

    names = ("seed", "epochs", "batch", "learning_rate", "weight_decay")
    state = TrainingState(
        options.state,
        {name: getattr(options, name) for name in names} | {"data": data.trained_on},
        {"network": network, "average": average},
        {"optimizer": optimizer},
    )
    train(state, steps, one_step)
    return average


def rise_and_fall(done: float) -> float:
    """Factor on the learning rate, in [0, 1]: linear up to 10 % of the run, a cosine down after."""
    return done / 0.1 if done < 0.1 else (1 + math.cos(math.pi * (done - 0.1) / 0.9)) / 2


def digits_parser(name: str, description: str, *, epochs: int, rate: float, decay: float) -> argparse.ArgumentParser:
    """A recipe's parser with what training such a network takes."""
    parser = recipe_parser(name, description)
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=rate, help="the largest of the run")
    parser.add_argument("--weight-decay", type=float, default=decay)
    return parser


def write_digits(network: DigitNet, data: Mnist, about: dict[str, Any], options: argparse.Namespace) -> None:
    """Measure on what it was not trained on, write it with its card, and say so."""
    share = accuracy(network, data.test_images, data.test_labels)
    facts = {
        "kind": "extractor",
        "image_shape": [1, 28, 28],
        "embedding": network.k,
        "licence": MNIST_LICENCE,
        "seed": options.seed,
        "quality": {"test_accuracy": share, "test_images": len(data.test_images), "command": about["command"]},
    }
    card = write_zoo_entry(network.name, network, facts | about, options.zoo)
    Console().print(f"{share:.2%} of the test images right; wrote {card}", soft_wrap=True)


def main() -> None:
    """Parse, train, measure, write."""
    told = "Train the digit network that finders look through."
    parser = digits_parser(NAME, told, epochs=14, rate=4e-3, decay=0.01)
    options = parser.parse_args()
    start_recipe(options.seed, options.threads)
    data = load_mnist(options.data)
    network = train_digits(options, lambda: ConvNet(**ARGUMENTS), data)
    about = {"family": "digit-net", "arguments": ARGUMENTS, "trained_on": data.trained_on, "recipe": RECIPE}
    write_digits(network, data, about | {"command": recipe_command(RECIPE, parser)}, options)


if __name__ == "__main__":
    main()
