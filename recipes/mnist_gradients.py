"""Train `mnist-gradients`, the digit network that counts flips and measures distances, and never guides.

It learns from the 10,000 pictures that `mnist-digits` has not seen, and is tested on the 60,000 that it has.

python recipes/mnist_gradients.py        about 2 minutes on one core, resumable
"""

from mnist_digits import digits_parser, train_digits, write_digits
from training import load_mnist, recipe_command, start_recipe

from unfeature.metrics.gradients import NAME, GradientNet

RECIPE = "recipes/mnist_gradients.py"
ARGUMENTS = {"directions": 8, "hidden": 512, "k": 64}


def main() -> None:
    """Parse, train, measure, write."""
    parser = digits_parser(NAME, "Train the digit network that judges.", epochs=120, rate=3e-3, decay=0.05)
    parser.set_defaults(seed=1)
    options = parser.parse_args()
    start_recipe(options.seed, options.threads)
    data = load_mnist(options.data).exchanged()
    network = train_digits(options, lambda: GradientNet(**ARGUMENTS), data)
    about = {"family": "gradient-net", "arguments": ARGUMENTS, "trained_on": data.trained_on, "recipe": RECIPE}
    write_digits(network, data, about | {"command": recipe_command(RECIPE, parser)}, options)


if __name__ == "__main__":
    main()
