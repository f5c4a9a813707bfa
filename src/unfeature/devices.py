"""Where networks compute: the CPU, or what UNFEATURE_DEVICE names. All else computes on the CPU.

A network of ours brings what it is given to where its weights lie, and what it makes to where it was asked from. So
nothing but training, which keeps its batches beside the weights, knows of devices.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from unfeature.errors import BadOption

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Module = TypeVar("Module", bound="nn.Module")

VARIABLE = "UNFEATURE_DEVICE"
"""Names it for every verb."""

DEVICES = ("cpu", "cuda", "mps", "auto")


def named() -> str:
    """What the environment says; cpu where it says nothing."""
    return os.environ.get(VARIABLE) or "cpu"


def processes() -> int:
    """How many torchrun began together; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this process is the one of them that speaks and writes."""
    return os.environ.get("RANK", "0") == "0"


def here() -> torch.device:
    """Where networks of this process belong; one of torchrun's takes its own. BadOption for what is not there."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = named()
    found = next(kind for kind, is_there in there.items() if is_there) if name == "auto" else name
    if not there.get(found, False):
        raise BadOption(
            f'{VARIABLE} is "{name}", which this machine does not have; expected one of {", ".join(DEVICES)}. '
            f"Leave it out:  unset {VARIABLE}"
        )
    if found != "cuda":
        return torch.device(found)
    as_on_the_cpu()
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def as_on_the_cpu() -> None:
    """Convolutions on a GPU in whole float32 and the same bytes each time, as on a CPU; by default they are neither."""
    import torch

    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True


def of(module: nn.Module) -> torch.device:
    """Where its weights lie; the CPU for a module without any."""
    import torch

    return next((weights.device for weights in module.parameters()), torch.device("cpu"))


def carried(call: Callable[[Tensor], Tensor], module: nn.Module, rows: Tensor) -> Tensor:
    """What a call of the module's makes of rows from anywhere, there where they were; gradients go the same way."""
    device = of(module)
    made = call(rows.to(device))
    return made if device == rows.device else made.to(rows.device)


def placed(module: Module) -> Module:
    """The module, moved there."""
    return module.to(here())


def told() -> str:
    """The kind of device, and its name where it has one."""
    import torch

    device = here()
    return f"cuda, {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type
