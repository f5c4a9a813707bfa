"""An unlearned generator for other programs: the file it came from with new values, torch.export, ONNX, a diff."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unfeature.errors import BadCheckpoint, BadOption, first_line
from unfeature.generators.checkpoints import Opened, open_checkpoint, rewritten
from unfeature.generators.diffs import difference
from unfeature.generators.module import ModuleGenerator, Source

PARITY = 1e-4
"""A program for another runtime may change pixels by this much at most, in [0, 1]."""

FORMATS = ("original", "safetensors", "diff", "torch-export", "onnx")

SUFFIXES = {".onnx": "onnx", ".pt2": "torch-export", ".diff": "diff", ".safetensors": "safetensors"}
SUFFIXES |= dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".pkl", ".tar"), "torch")
"""Ending of a file's name -> what others take such a file for; any other may hold anything."""


def form_of(path: Path, form: str, source: Source | None) -> str:
    """The format of an exported file: the one asked for or, if none was, by the file's ending. BadOption.

    Weights have the format of the file they came from where its ending fits, and are safetensors otherwise: also where
    that file is one of ours, which says of itself what was unlearned until then.
    """
    source = None if source is not None and source.ours else source
    expected = SUFFIXES.get(path.suffix.lower())
    own: str = source.format if source is not None else "safetensors"
    if form:
        if form not in FORMATS:
            raise BadOption(f'format is "{form}"; expected one of {", ".join(FORMATS)}')
        kinds = {"original": (own,), "diff": ("diff", "safetensors")}.get(form, (form,))
        if expected is None or expected in kinds or (source is None and form == "original"):
            return form
        fitting = ", ".join(end for end, kind in SUFFIXES.items() if kind in kinds)
        raise BadOption(
            f"--to {path} and --format {form} contradict each other; expected a name that ends in {fitting}. "
            "Name another file, or leave --format out."
        )
    if expected == "torch" and own != "torch":
        raise BadOption(
            f"--to {path} names a file of torch's, but the weights did not come from one; expected .safetensors, "
            f".onnx, .pt2 or .diff. Write  --to {path.with_suffix('.safetensors')}"
        )
    if expected in (None, own, "torch"):
        return "original" if source is not None else "safetensors"
    return expected


def check_ending(path: Path, format: str) -> None:
    """BadOption where others would take a file of that format, safetensors or torch, for another."""
    expected = SUFFIXES.get(path.suffix.lower(), format)
    if expected != format:
        ending = ".safetensors" if format == "safetensors" else ".pth"
        raise BadOption(
            f"--to {path} names a file of {expected}, but what is written is {format}; expected a name that says so. "
            f"Write  --to {path.with_suffix(ending)}"
        )


def reopened(source: Source, wanted: Mapping[str, Tensor]) -> Opened:
    """The user's file again; BadCheckpoint where it is another one now."""
    opened = open_checkpoint(source.path, wanted.keys(), at=(source.where, source.prefix))
    if (opened.sha256, opened.where, opened.prefix) != (source.sha256, source.where, source.prefix):
        raise BadCheckpoint(
            f"{source.path} has SHA-256 {opened.sha256[:16]}..., but the run began with {source.sha256[:16]}...; "
            "expected the same file. Put it back."
        )
    return opened


def original_format(generator: ModuleGenerator) -> bytes:
    """The file that the weights came from, with this generator's values; BadOption where there was none."""
    new = generator.module.state_dict()
    return rewritten(reopened(_source(generator), new), new)


def _source(generator: ModuleGenerator) -> Source:
    if generator.written_in is None or generator.written_in.ours:
        raise BadOption(
            "the generator's weights did not come from a file of yours, so there is no original format; "
            "expected --format safetensors, torch-export, onnx or diff. For FILE.py:FUNCTION, load the weights with  "
            "unfeature.from_module(..., weights=FILE)"
        )
    return generator.written_in


def as_in_file(generator: ModuleGenerator) -> dict[str, Tensor]:
    """The weights in the names, shapes and dtypes of the file that they are written in, or else the module's own.

    To the bit those of the file where the weights are still its own.
    """
    own = generator.module.state_dict()
    if generator.written_in is None:
        return own
    there = reopened(generator.written_in, own).tensors
    made = {name: own[name].detach().cpu().reshape(there[name].shape) for name in own if name in there}
    kept = {name: torch.equal(there[name].to(value.dtype), value) for name, value in made.items()}
    return {name: there[name] if kept[name] else value.to(there[name].dtype) for name, value in made.items()}


def diff_file(before: ModuleGenerator, after: ModuleGenerator, about: Mapping[str, Any]) -> bytes:
    """What changed between two copies, in names and dtypes of the file they are written in, or in the module's own."""
    old, new = as_in_file(before), after.module.state_dict()
    new = {name: new[name].detach().cpu().to(value.dtype).reshape(value.shape) for name, value in old.items()}
    return difference(old, new, about)


def exported_program(module: nn.Module, latents: Tensor) -> bytes:
    """A torch.export archive of `module` for any number of latents (n, d); BadOption where torch cannot trace it."""
    try:
        program = torch.export.export(module, (latents,), dynamic_shapes=({0: torch.export.Dim("n")},))
    except Exception as error:  # torch.export has no common class for what it cannot trace
        raise BadOption(f"this generator cannot be exported: {first_line(error)}. Use --format original.") from error
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def onnx_model(module: nn.Module, latents: Tensor) -> bytes:
    """An ONNX model for any number of latents (n, d); BadOption where packages are missing or an operator is."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BadOption(
            f'ONNX needs the package {error.name}, which is not installed. Install it:  pip install "unfeature[onnx]"'
        ) from error
    try:
        with _quiet("torch.onnx"):
            program = torch.onnx.export(
                module,
                (latents,),
                dynamo=True,
                input_names=["latents"],
                output_names=["images"],
                dynamic_shapes=({0: torch.export.Dim("n")},),
                verbose=False,
            )
    except Exception as error:
        raise BadOption(f"this generator cannot be made ONNX: {first_line(error)}. Use --format original.") from error
    assert program is not None
    data: bytes = program.model_proto.SerializeToString()
    return data


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Without what a library logs and warns of its own making, such as packages it does not need."""
    loggers = [logging.getLogger(one) for one in logging.root.manager.loggerDict if one.startswith(name)]
    levels = [one.level for one in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in loggers:
            one.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for one, level in zip(loggers, levels, strict=True):
                one.setLevel(level)


def run_exported(data: bytes, latents: Tensor) -> Tensor:
    """Images (n, c, h, w) of a torch.export archive."""
    images: Tensor = torch.export.load(io.BytesIO(data)).module()(latents)
    return images


def run_onnx(data: bytes, latents: Tensor) -> Tensor:
    """Images (n, c, h, w) of an ONNX model in onnxruntime; BadOption where that has no such operator."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, {"latents": latents.numpy()})[0])
    except Exception as error:  # onnxruntime's errors have no common class
        raise BadOption(
            f"onnxruntime cannot run this generator: {first_line(error)}. Use --format original."
        ) from error


def written_weights(generator: ModuleGenerator, path: Path) -> ModuleGenerator:
    """The generator with the weights of a file just written, rounded to that file's dtypes: what its users will see."""
    twin = generator.copy()
    twin.take(open_checkpoint(path, twin.module.state_dict()))
    return twin
