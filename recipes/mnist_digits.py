"""Train `mnist-digits`, the digit network that the metrics take their features from.

python recipes/mnist_digits.py        about 4 minutes on one core, resumable
"""

import argparse
import math

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

from unfeature.metrics.digits import NAME, DigitNet

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


def train_digits(options: argparse.Namespace, data: Mnist) -> DigitNet:
    """The average of the weights over the last steps of training."""
    network, average = DigitNet(**ARGUMENTS), DigitNet(**ARGUMENTS)
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
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

    state = TrainingState(
        options.state,
        {
            "seed": options.seed,
            "epochs": options.epochs,
            "batch": options.batch,
            "learning_rate": options.learning_rate,
            "data": data.sha256,
        },
        {"network": network, "average": average},
        {"optimizer": optimizer},
    )
    train(state, steps, one_step)
    return average


def rise_and_fall(done: float) -> float:
    """Factor on the learning rate, in [0, 1]: linear up to 10 % of the run, a cosine down after."""
    return done / 0.1 if done < 0.1 else (1 + math.cos(math.pi * (done - 0.1) / 0.9)) / 2


def main() -> None:
    """Parse, train, measure, write."""
    parser = recipe_parser(NAME, "Train the digit network that the metrics use.")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="the largest of the run")
    options = parser.parse_args()
    start_recipe(options.seed, options.threads)
    data = load_mnist(options.data)
    network = train_digits(options, data)
    command = recipe_command(RECIPE, parser)
    share = accuracy(network, data.test_images, data.test_labels)
    card = write_zoo_entry(
        NAME,
        network,
        {
            "kind": "extractor",
            "family": "digit-net",
            "arguments": ARGUMENTS,
            "image_shape": [1, 28, 28],
            "embedding": ARGUMENTS["k"],
            "licence": MNIST_LICENCE,
            "trained_on": data.trained_on,
            "recipe": RECIPE,
            "command": command,
            "seed": options.seed,
            "quality": {"test_accuracy": share, "test_images": 10000, "command": command},
        },
        options.zoo,
    )
    Console().print(f"{share:.2%} of the test images right; wrote {card}", soft_wrap=True)


if __name__ == "__main__":
    main()
