"""From a family's name and arguments, or from a checkpoint's own names and shapes, to a filled Generator."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unfeature.errors import BadCheckpoint, BadOption, UnfeatureError, UnknownName, first_line
from unfeature.generators import GENERATORS
from unfeature.generators.checkpoints import Opened
from unfeature.generators.filling import check_fit, fill
from unfeature.generators.layers import picked_shapes
from unfeature.generators.module import ModuleGenerator, from_module
from unfeature.tables import resolve

MOST = 2**16
"""Of a number or of a list's length in a file's arguments, seeds apart: sizes beyond it are a trap."""

VALUES = 2**28
"""Of one layer's output for one picture; 1024x1024 px with 64 channels have a quarter of that."""

OPENINGS = 30
"""Sets of weights in a file among which a family is looked for."""


def build(
    facts: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str, given: Mapping[str, Any] | None = None
) -> ModuleGenerator:
    """The generator a card or a checkpoint's metadata describes, filled with `tensors`; `given` over its arguments.

    UnknownName, BadOption for arguments the family does not take, BadCheckpoint for facts or tensors that do not fit.
    """
    arguments, family, name = facts.get("arguments"), facts.get("family"), facts.get("name")
    if not (isinstance(arguments, dict) and isinstance(family, str) and isinstance(name, str) and _sane(arguments)):
        raise BadCheckpoint(
            f"{where} describes itself in a way that makes no generator (name, family or arguments); it was damaged or "
            "edited. Copy or download it again."
        )
    return built_generator({**facts, "arguments": {**arguments, **(given or {})}}, tensors, where)


def _sane(value: Any, name: str = "") -> bool:
    """Whether no number or list is long enough to make building it take for ever."""
    if isinstance(value, Mapping):
        return len(value) <= MOST and all(_sane(part, str(key)) for key, part in value.items())
    if isinstance(value, list):
        return len(value) <= MOST and all(_sane(part) for part in value)
    return not isinstance(value, int | float) or name.endswith("seed") or -MOST <= value <= MOST


def built_generator(facts: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> ModuleGenerator:
    """The same, of facts made here."""
    family, arguments = facts["family"], facts["arguments"]
    kind = resolve("generator family", GENERATORS, family)
    known = inspect.signature(kind).parameters
    for argument in arguments:
        if argument not in known:
            raise UnknownName(f"argument of family {family}", argument, known)
    with torch.device("meta"):  # nothing is allocated before it is known to fit the file
        probe = _made(kind, family, arguments, where)
    check_fit(probe, tensors, where)
    _check_size(probe, where)
    module = _made(kind, family, arguments, where)
    fill(module, tensors, where)
    name, licence = (_printable(str(facts.get(key, ""))) for key in ("name", "licence"))
    generator = from_module(name, module, int(module.latent_dim), licence=licence)  # type: ignore[arg-type]
    generator.origin = {"family": family, "arguments": arguments}
    try:
        generator.spec  # noqa: B018 - makes a picture
    except UnfeatureError:
        raise
    except Exception as error:
        raise BadCheckpoint(
            f"{where} makes no picture as {family}: {first_line(error)}. Its arguments and its weights do "
            "not belong together: say others with --argument, or use another file."
        ) from error
    return generator


def _made(kind: Any, family: str, arguments: Mapping[str, Any], where: str) -> nn.Module:
    try:
        module: nn.Module = kind(**arguments)
    except UnfeatureError:
        raise
    except Exception as error:
        raise BadOption(
            f"family {family} cannot be built for {where}: {first_line(error)}. "
            "Say other values with:  --argument NAME=VALUE"
        ) from error
    return module.eval()


def _check_size(probe: nn.Module, where: str) -> None:
    """BadCheckpoint where a picture, or a layer on the way to it, would take too much memory."""

    def look(module: nn.Module, given: Any, made: Any) -> None:
        if isinstance(made, Tensor) and made.numel() > VALUES:
            raise BadCheckpoint(
                f"{where} makes pictures by way of {made.numel():,} numbers each; expected at most {VALUES:,}. "
                "Its arguments are wrong: say others with --argument, or use another file."
            )

    for part in probe.modules():
        part.register_forward_hook(look)
    try:
        probe(torch.zeros(1, int(probe.latent_dim), device="meta"))  # type: ignore[arg-type]
    except BadCheckpoint:
        raise
    except Exception:
        return  # it goes wrong with real numbers too, and that is told


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:200])


def recognised(name: str, found: Sequence[Opened], given: Mapping[str, Any]) -> tuple[Opened, str, dict[str, Any], str]:
    """The set of weights that a family knows by names and shapes, that family, its arguments, and a note of it all.

    `given` goes over the arguments; its `keys` picks tensors first. BadOption, BadCheckpoint where none knows it.
    """
    problem: UnfeatureError | None = None
    rest = {key: value for key, value in given.items() if key != "keys"}
    for opened in found[:OPENINGS]:
        try:
            shapes = picked_shapes(opened.shapes, given.get("keys", ""))
        except UnfeatureError as error:
            problem = problem or error
            continue
        for family in GENERATORS:
            kind = resolve("generator family", GENERATORS, family)
            arguments = _arguments_of(kind, shapes)
            if arguments is not None:
                arguments |= rest
                note = _note(kind, family, arguments) + (f"; only {given['keys']}" if "keys" in given else "")
                return _only(opened, shapes), family, arguments, note
    if problem is not None:
        raise problem
    heads = ", ".join(list(dict.fromkeys(key.partition(".")[0] for key in found[0].tensors))[:6])
    raise BadCheckpoint(
        f"{name} does not say which family of generator it belongs to, and no family knows its layers ({heads}). "
        "Pick the generator's layers:  --argument keys=LAYER,LAYER  or name the code that builds it:  "
        "--generator FILE.py:FUNCTION --weights FILE.safetensors"
    )


def _arguments_of(kind: Any, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] | None = kind.arguments_of(shapes)
    except Exception:
        return None  # shapes may be anything, also such as no layer can have
    return found


def _only(opened: Opened, shapes: Mapping[str, tuple[int, ...]]) -> Opened:
    """The file as one that has these tensors alone."""
    return Opened(**{**vars(opened), "tensors": {key: opened.tensors[key] for key in shapes}})


def _note(kind: Any, family: str, arguments: Mapping[str, Any]) -> str:
    known = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
    usual = {name: value for name, value in known.items() if value is not inspect.Parameter.empty} | dict(arguments)
    assumed = getattr(kind, "assumed", [name for name in usual if name not in arguments])
    told = ", ".join(f"{name} {_told(usual[name])}" for name in assumed if name in usual)
    return f"taken for family {family}" + (f"; assumed, change with --argument NAME=VALUE: {told}" if told else "")


def _told(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
