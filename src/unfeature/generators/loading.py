"""From a name or a file to a Generator, and back to a file. Weights are data: no file of weights can run code."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from unfeature import zoo
from unfeature.artifacts import content_id
from unfeature.devices import placed
from unfeature.errors import BadCheckpoint, BadFile, UnfeatureError, UnknownName
from unfeature.generators import GENERATORS
from unfeature.generators.building import build, built_generator, recognised
from unfeature.generators.checkpoints import SUFFIXES, Opened, is_checkpoint, open_checkpoint, openings
from unfeature.generators.filling import check_finite, fill
from unfeature.generators.module import ModuleGenerator
from unfeature.generators.safetensors_files import read_safetensors, to_safetensors
from unfeature.plugins import call_object, is_file_reference
from unfeature.protocols import Generator
from unfeature.tables import resolve

__all__ = ["build", "checkpoint_bytes", "load_generator", "read_safetensors", "to_safetensors"]


def load_generator(
    name: str, weights: str | Path | None = None, arguments: Mapping[str, Any] | None = None
) -> Generator:
    """A shipped generator by name, a checkpoint file (.safetensors .pt .pth .ckpt .pkl .bin), or FILE.py:FUNCTION.

    `weights`: a checkpoint file with the same names, put in place of the generator's own. `arguments`: over those that
    the card says, the checkpoint's own metadata or its shapes; of FILE.py:FUNCTION, the function's. Text is read as
    JSON where it is that. Nothing in a file of weights is run. Its module is put where `devices.here()` says, unless
    somebody else's class brings it. UnknownName, BadFile, BadCheckpoint, BadOption.
    """
    given = {key: _json(value) for key, value in (arguments or {}).items()}
    generator = _load(name, given)
    if weights is not None:
        generator = generator.copy()
        opened = open_checkpoint(weights, generator.module.state_dict())
        if isinstance(generator, ModuleGenerator):
            generator.take(opened)
        else:
            fill(generator.module, opened.tensors, str(weights), others=True)
    if isinstance(generator, ModuleGenerator):
        generator.given = _given(name, given)
        placed(generator.module)
    return generator


def _given(name: str, given: Mapping[str, Any]) -> str:
    """Hash of those arguments that a shipped generator does not have anyway; empty for none."""
    card, known = zoo.cards("generator").get(name), dict[str, Any]()
    if card is not None:
        kind = resolve("generator family", GENERATORS, card["family"])
        known = {key: told.default for key, told in inspect.signature(kind).parameters.items()} | card["arguments"]
    others = {key: value for key, value in given.items() if key not in known or known[key] != value}
    return content_id(json.loads(json.dumps(others, default=str)))[:8] if others else ""


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=str)
    except (ValueError, RecursionError):
        return value


def _load(name: str, given: dict[str, Any]) -> Generator:
    if is_file_reference(name):
        return _foreign(name, given)
    shipped = zoo.cards("generator")
    if name in shipped:
        return _shipped(name, shipped[name], given)
    if is_checkpoint(name):
        return _from_file(name, given)
    raise UnknownName("generator", name, shipped, f"a checkpoint ({' '.join(SUFFIXES)}) or FILE.py:NAME")


def _shipped(name: str, card: dict[str, Any], given: dict[str, Any]) -> Generator:
    data = zoo.weights(name)
    found = hashlib.sha256(data).hexdigest()
    if found != card["sha256"]:
        raise BadCheckpoint(
            f"{name}.safetensors has SHA-256 {found}, its card says {card['sha256']}. "
            "The installed file is damaged: install unfeature again."
        )
    return build(card, read_safetensors(name, data)[0], name, given)


def _from_file(name: str, given: dict[str, Any]) -> Generator:
    """One of ours by its metadata, or of a family that knows the names and shapes."""
    whole, facts, notes = taken(name, given)
    if "family" in whole.facts:
        generator = build(facts, whole.tensors, name, given)
    else:
        generator = built_generator(facts, whole.tensors, name)
    generator.came_from(whole)
    generator.notes = (*notes, *generator.notes)
    return generator


def taken(name: str, given: Mapping[str, Any]) -> tuple[Opened, dict[str, Any], tuple[str, ...]]:
    """The set of weights in a checkpoint file that `load_generator` takes, the facts to build from, notes in words.

    BadFile, BadCheckpoint and BadOption where it takes none.
    """
    found = openings(name)
    whole = found[0]
    if "family" in whole.facts:
        return whole, whole.facts, ()
    if "name" in whole.facts:
        raise BadCheckpoint(
            f"{name} does not say which family of generator it belongs to: it was written for a generator of "
            "somebody's own code. Name that code:  --generator FILE.py:FUNCTION --weights FILE.safetensors"
        )
    whole, family, arguments, note = recognised(name, found, given)
    licence = whole.metadata.get("licence", whole.metadata.get("license", ""))
    facts = {"name": Path(name).stem, "family": family, "arguments": arguments, "licence": licence}
    return whole, facts, (*whole.notes, note)


def _foreign(reference: str, given: dict[str, Any]) -> Generator:
    made = call_object(reference, **given)
    try:
        fits = isinstance(made, Generator)  # looks at every member, and `spec` makes a picture
    except UnfeatureError:
        raise
    except Exception as error:
        raise BadFile(
            f'"{reference}()" gave a generator that makes no picture: {type(error).__name__}: {error}. '
            "Its module is given latents (n, LATENT_DIM) and returns images (n, c, h, w): mend the file."
        ) from error
    if fits:
        check_finite(made.spec.name, made.module)
        return made  # type: ignore[no-any-return]
    raise BadFile(
        f'"{reference}()" gave a {type(made).__name__}; expected a Generator. '
        "End your function with:  return unfeature.from_module(NAME, MODULE, LATENT_DIM)"
    )


def checkpoint_bytes(generator: Generator, facts: Mapping[str, Any]) -> bytes:
    """The generator as a file `load_generator` reads; `facts` say how it was made."""
    spec = generator.spec
    about = {"name": spec.name, "latent_dim": spec.latent_dim, "image_shape": spec.image_shape}
    about |= {"licence": spec.licence, **getattr(generator, "origin", {}), **facts}
    tensors: dict[str, Tensor] = generator.module.state_dict()
    return to_safetensors(tensors, about)
