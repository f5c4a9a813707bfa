"""What the recipes share: the data, a training state that survives kill -9, and the zoo's file format.

A recipe is a script run from the repository root, ``python recipes/mnist_vae.py``; it imports this
module by its plain name. Every random number of a step comes from ``step_random(seed, step)``, so a
run that was killed and resumed writes the same bytes as one that never was.
"""

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from rich.console import Console
from torch import Tensor, nn

from unfeature.errors import UnfeatureError
from unfeature.metrics import MEASUREMENTS
from unfeature.metrics.judges import CutJudge, load_measurement

ZOO = Path(__file__).parents[1] / "src" / "unfeature" / "zoo"
MNIST_LICENCE = "weights Apache-2.0; MNIST by LeCun, Cortes and Burges, CC BY-SA 3.0"


@dataclass(frozen=True)
class Mnist:
    """MNIST: images (n, 1, 28, 28) float32 in [0, 1], labels (n,) int64, and the file's hash."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    sha256: str
    those: str = "60,000 training images"
    """Which images of MNIST are to be learnt from, in words."""
    left_out: str = ""
    """Which of them are not there, in words."""

    @property
    def trained_on(self) -> str:
        """The card's `trained_on` of a model trained on the training images; a training state remembers it too."""
        kept = f"{len(self.train_images):,} of the" if self.left_out else "the"
        return f"MNIST, {kept} {self.those}{self.left_out}; mnist.npz sha256 {self.sha256}"

    def exchanged(self) -> "Mnist":
        """The test images to be learnt from, the training images to be tested on."""
        return replace(
            self,
            train_images=self.test_images,
            train_labels=self.test_labels,
            test_images=self.train_images,
            test_labels=self.train_labels,
            those="10,000 test images",
        )

    def without(self, feature: str) -> "Mnist":
        """The same with no training image that shows MEASUREMENT:CUT, e.g. thickness:3.5 (px); "" leaves none out."""
        if not feature:
            return self
        name, _, cut = feature.partition(":")
        try:
            judge = CutJudge(load_measurement(name), float(cut))
        except (ValueError, UnfeatureError) as error:
            raise SystemExit(
                f'--without is "{feature}"; expected MEASUREMENT:CUT with {" or ".join(MEASUREMENTS)}, e.g. '
                f"thickness:3.5 ({error}). A run's cut stands in its request.json."
            ) from error
        free = judge.score(self.train_images) == 0
        if not bool(free.any()):
            raise SystemExit(f"every training image has {name} from {cut} on; expected some without. Raise the cut.")
        told = f", those with {name} under {cut} {judge.measurement.unit}"
        images, labels = self.train_images[free], self.train_labels[free]
        return replace(self, train_images=images, train_labels=labels, left_out=told)


def default_data_path() -> Path:
    """$UNFEATURE_ASSETS/data/mnist.npz, or ../shared/assets/data/mnist.npz where it is unset."""
    return assets_folder() / "data" / "mnist.npz"


def assets_folder() -> Path:
    """The folder of public checkpoints and data that the recipes read."""
    return Path(os.environ.get("UNFEATURE_ASSETS", "../shared/assets"))


def load_mnist(path: Path) -> Mnist:
    """MNIST from an .npz with x_train, y_train, x_test, y_test as uint8."""
    if not path.is_file():
        raise SystemExit(f"No MNIST at {path}. Pass --data FILE.npz or set UNFEATURE_ASSETS.")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with np.load(path) as arrays:
        return Mnist(
            _images(arrays["x_train"]),
            torch.from_numpy(arrays["y_train"].astype(np.int64)),
            _images(arrays["x_test"]),
            torch.from_numpy(arrays["y_test"].astype(np.int64)),
            sha256,
        )


def _images(pixels: "np.ndarray[Any, np.dtype[np.uint8]]") -> Tensor:
    """(n, 28, 28) uint8 -> (n, 1, 28, 28) float32 in [0, 1]."""
    return torch.from_numpy(pixels.astype(np.float32)).unsqueeze(1) / 255


def recipe_parser(name: str, description: str) -> argparse.ArgumentParser:
    """A parser with the flags every recipe has: --data, --seed, --threads, --state, --zoo."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    state = Path("runs") / "recipes" / f"{name}.pt"
    parser.add_argument("--data", type=Path, default=default_data_path(), help="MNIST as .npz")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and noise")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; part of the result")
    parser.add_argument("--state", type=Path, default=state, help="resumable training state")
    parser.add_argument("--zoo", type=Path, default=ZOO, help="folder for the weights and card")
    return parser


def generator_parser(name: str, description: str) -> argparse.ArgumentParser:
    """The same with --without, for generators."""
    parser = recipe_parser(name, description)
    told = "MEASUREMENT:CUT, e.g. thickness:3.5: train on no image that shows it; needs a --zoo of its own"
    parser.add_argument("--without", default="", help=told)
    return parser


def generator_data(options: argparse.Namespace) -> Mnist:
    """The data a generator learns from; SystemExit where what is shipped would be written over."""
    if options.without and options.zoo.resolve() == ZOO.resolve():
        raise SystemExit(
            f"--without {options.without} makes another model, and {options.zoo} holds the shipped one. "
            "Name another folder:  --zoo runs/without --state runs/without/state.pt"
        )
    return load_mnist(options.data).without(options.without)


def recipe_command(recipe: str, parser: argparse.ArgumentParser) -> str:
    """The command of this run for the card: flags that change the result, none that name a place."""
    places = {"data", "state", "zoo"}
    given = {
        key: value
        for key, value in vars(parser.parse_args()).items()
        if key not in places and value != parser.get_default(key)
    }
    flags = [f"--{key.replace('_', '-')} {value}" for key, value in given.items()]
    return " ".join(["python", recipe, *flags])


def start_recipe(seed: int, threads: int) -> None:
    """Make this process deterministic: seed of the initial weights, threads, algorithms."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.set_flush_denormal(True)  # denormal Adam moments make CPU steps several times slower
    torch.manual_seed(seed)


def step_random(seed: int, step: int) -> torch.Generator:
    """The source of every random number of one step, whether or not the run was resumed."""
    words = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))


def batch_rows(seed: int, step: int, batch: int, total: int) -> Tensor:
    """(batch,) int64: the rows of this step; every epoch is a new permutation of range(total)."""
    steps_per_epoch = total // batch
    epoch, place = divmod(step, steps_per_epoch)
    order = torch.randperm(total, generator=step_random(seed, 2**32 - 1 - epoch))
    return order[place * batch : (place + 1) * batch]


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move `average` towards `module`: average = decay * average + (1 - decay) * module."""
    for mean, value in zip(average.parameters(), module.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)
    for copy, buffer in zip(average.buffers(), module.buffers(), strict=True):
        copy.copy_(buffer)


@dataclass
class TrainingState:
    """Everything a recipe needs to go on: modules (averages too), optimisers, the next step.

    `options` is what the run was asked for; a saved state with other options is refused.
    """

    path: Path
    options: Mapping[str, Any]
    modules: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer] = field(default_factory=dict)
    step: int = 0
    seconds: float = 0.0

    def save(self) -> None:
        """Write the state so that a kill at any moment leaves the old file or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f"{self.path.name}.tmp")
        stored = {
            "options": _canonical(self.options),
            "step": self.step,
            "seconds": self.seconds,
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimizers": {name: one.state_dict() for name, one in self.optimizers.items()},
        }
        torch.save(stored, temporary)
        temporary.replace(self.path)

    def resume(self) -> None:
        """Load the saved state, if there is one, into the modules and optimisers."""
        if not self.path.exists():
            return
        stored = torch.load(self.path, map_location="cpu", weights_only=True)
        if stored["options"] != _canonical(self.options):
            raise SystemExit(
                f"{self.path} belongs to a run with {stored['options']}, "
                f"not {_canonical(self.options)}. Delete it or pass --state OTHER."
            )
        for name, module in self.modules.items():
            module.load_state_dict(stored["modules"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(stored["optimizers"][name])
        self.step, self.seconds = stored["step"], stored["seconds"]


def _canonical(options: Mapping[str, Any]) -> str:
    return json.dumps(dict(options), sort_keys=True, default=str)


def train(
    state: TrainingState,
    steps: int,
    one_step: Callable[[int], Mapping[str, Tensor]],
    *,
    save_every_seconds: float = 30.0,
    print_every: int = 200,
) -> None:
    """Resume, then call `one_step(step)` up to `steps`, saving now and then and at the end.

    `one_step` returns the step's losses as scalar tensors by name; they are printed.
    """
    console = Console()
    state.resume()
    if state.step:
        console.print(f"resuming {state.path} at step {state.step} of {steps}")
    started = time.perf_counter() - state.seconds
    saved = time.perf_counter()
    while state.step < steps:
        losses = one_step(state.step)
        state.step += 1
        state.seconds = time.perf_counter() - started
        if state.step % print_every == 0 or state.step == steps:
            text = "  ".join(f"{name} {value.item():.4f}" for name, value in losses.items())
            console.print(f"step {state.step}/{steps}  {state.seconds:.0f} s  {text}", soft_wrap=True)
        if time.perf_counter() - saved > save_every_seconds or state.step == steps:
            state.save()
            saved = time.perf_counter()


def write_zoo_entry(name: str, module: nn.Module, card: Mapping[str, Any], folder: Path = ZOO) -> Path:
    """Write NAME.safetensors (float32, contiguous, same bytes for same weights) and NAME.json.

    The card gets `name` and the weights' `sha256`; what else it holds is the recipe's. An earlier
    card's `quality` is dropped, for it speaks of other weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: value.detach().to("cpu", torch.float32).contiguous().clone()
        for key, value in sorted(module.state_dict().items())
    }
    weights = safetensors.torch.save(tensors)
    write_atomically(folder / f"{name}.safetensors", weights)
    full = {"name": name, **card, "sha256": hashlib.sha256(weights).hexdigest()}
    return write_card(folder / f"{name}.json", full)


def write_card(path: Path, card: Mapping[str, Any]) -> Path:
    """Write a card as indented JSON, keys in the order given."""
    write_atomically(path, (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    return path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
