"""From a name or a file to a Generator, and back to a file. Weights are data: only safetensors, never pickles."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from unfeature import zoo
from unfeature.errors import BadCheckpoint, BadFile, UnfeatureError, UnknownName
from unfeature.generators import GENERATORS
from unfeature.generators.module import ModuleGenerator, check_finite, from_module
from unfeature.plugins import call_object, is_file_reference
from unfeature.protocols import Generator
from unfeature.tables import resolve


def load_generator(name: str, weights: str | Path | None = None) -> Generator:
    """A shipped generator by name, a checkpoint of ours by path, or your own by FILE.py:FUNCTION.

    `weights`: a safetensors file with the same keys, put in place of the generator's own. UnknownName, BadFile,
    BadCheckpoint.
    """
    generator = _load(name)
    if weights is not None:
        tensors, _ = read_safetensors(Path(weights).name, _read(Path(weights)))
        generator = generator.copy()
        fill(generator.module, tensors, str(weights))
    return generator


def _load(name: str) -> Generator:
    if is_file_reference(name):
        return _foreign(name)
    if name.endswith(".safetensors"):
        tensors, facts = read_safetensors(name, _read(Path(name)))
        if "family" not in facts:
            raise BadCheckpoint(
                f"{name} does not say which family of generator it belongs to. "
                "Name the code that builds it too:  --generator FILE.py:FUNCTION --weights FILE.safetensors"
            )
        return build(facts, tensors, name)
    shipped = zoo.cards("generator")
    if name not in shipped:
        raise UnknownName("generator", name, shipped)
    card, data = shipped[name], zoo.weights(name)
    found = hashlib.sha256(data).hexdigest()
    if found != card["sha256"]:
        raise BadCheckpoint(
            f"{name}.safetensors has SHA-256 {found}, its card says {card['sha256']}. "
            "The installed file is damaged: install unfeature again."
        )
    return build(card, read_safetensors(name, data)[0], name)


def _foreign(reference: str) -> Generator:
    made = call_object(reference)
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


def build(facts: dict[str, Any], tensors: dict[str, Tensor], where: str) -> ModuleGenerator:
    """The generator a card or a checkpoint's metadata describes, filled with `tensors`."""
    module: nn.Module = resolve("generator family", GENERATORS, facts["family"])(**facts["arguments"])
    fill(module, tensors, where)
    generator = from_module(facts["name"], module, int(facts["latent_dim"]), licence=facts.get("licence", ""))
    generator.origin = {"family": facts["family"], "arguments": facts["arguments"]}
    return generator


def fill(module: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Copy `tensors` into the module; BadCheckpoint names what is missing, left over or of another shape."""
    own = module.state_dict()
    wrong = [f"missing {key}" for key in own if key not in tensors]
    wrong += [f"unexpected {key}" for key in tensors if key not in own]
    wrong += [
        f"{key} is {tuple(tensors[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise BadCheckpoint(f"{where} does not fit this generator: {'; '.join(wrong[:5])}{more}. Use its own weights.")
    module.load_state_dict(tensors)
    check_finite(where, module)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}. Check the path.") from error


def read_safetensors(where: str, data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and the facts that `to_safetensors` put beside them; BadCheckpoint for a damaged file."""
    try:
        tensors = safetensors.torch.load(data)
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (safetensors.SafetensorError, ValueError) as error:
        raise BadCheckpoint(
            f"{where} is not a whole safetensors file ({error}); got {len(data)} bytes. It was cut off or is of "
            "another kind: copy or download it again."
        ) from error
    return tensors, json.loads(metadata["unfeature"]) if "unfeature" in metadata else {}


def to_safetensors(tensors: dict[str, Tensor], facts: dict[str, Any]) -> bytes:
    """The bytes of a safetensors file; the same content gives the same bytes."""
    plain = {key: value.detach().cpu().contiguous() for key, value in sorted(tensors.items())}
    return safetensors.torch.save(plain, {"unfeature": json.dumps(facts, sort_keys=True)})


def checkpoint_bytes(generator: Generator, facts: dict[str, Any]) -> bytes:
    """The generator as a file `load_generator` reads; `facts` say how it was made."""
    spec = generator.spec
    about = {"name": spec.name, "latent_dim": spec.latent_dim, "image_shape": spec.image_shape}
    about |= {"licence": spec.licence, **getattr(generator, "origin", {}), **facts}
    return to_safetensors(generator.module.state_dict(), about)
