"""From a finished run to files for other programs, and a diff put into a checkpoint or taken out of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unfeature import zoo
from unfeature.artifacts import Evaluation
from unfeature.errors import BadCheckpoint, BadFile, BadOption
from unfeature.generators import exporting as made
from unfeature.generators.checkpoints import open_checkpoint, read_file, rewritten
from unfeature.generators.diffs import applied
from unfeature.generators.loading import checkpoint_bytes, load_generator
from unfeature.generators.module import ModuleGenerator
from unfeature.generators.safetensors_files import read_safetensors, to_safetensors
from unfeature.protocols import Generator
from unfeature.reports.card import Card, render_card
from unfeature.seeds import stream
from unfeature.store import Run, write_atomic
from unfeature.workflow.inputs import the_feature, the_generator, the_unlearned

ABOUT = ("unlearned", "from", "result")
"""Facts beside the weights: what was removed from what, and the id of what that made."""

WHOSE = ("name", "latent_dim", "image_shape", "licence", "family", "arguments")
"""Facts beside the weights that stay true whatever their values."""

COMPARED = 8
"""Pictures on which the file's images are compared with the trained copy's."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    file: Path
    card: Path
    form: str
    parity: float
    """Largest difference of a pixel between the file's images and the trained copy's, in [0, 1]."""


def export(folder: str | Path, to: str | Path, form: str = "") -> Exported:
    """Write the unlearned generator to `to`, and a model card beside it. Nothing is overwritten.

    `form`: one of FORMATS; empty for what the ending of `to` says or, where that says nothing, for the format that the
    user's checkpoint came in, or safetensors where there was none. BadOption, BadFile where `to` is there,
    BadCheckpoint where another runtime makes other images.
    """
    run, to = Run(Path(folder)), Path(to)
    with run.held():
        generator, _ = the_generator(run)
        facts = the_feature(run, generator)[1]
        student, training = the_unlearned(run, generator)
        original, copy = _a_module(generator), _a_module(student)
        form = made.form_of(to, form, original.written_in)
        about = dict(zip(ABOUT, (facts["name"], generator.spec.id, student.spec.id), strict=True))
        _free(to)
        card_path = to.with_name(f"{to.name}.md")
        _free(card_path)
        latents = copy.sample_latents(stream("parity", 0, 0, COMPARED))
        data = _content(form, original, copy, about, latents)
        write_atomic(to, data)
        try:
            parity = _parity(form, to, data, original, copy, latents)
        except BaseException:
            to.unlink()
            raise
        evaluation = run.read_as("evaluation.json", Evaluation) if run.has("evaluation.json") else None
        if evaluation is not None and evaluation.result.id != student.spec.id:
            evaluation = None  # of another training
        card = Card(
            file=to.name,
            form=form,
            feature=facts["name"],
            licence=generator.spec.licence,
            hashes=_hashes(original, generator, student, data),
            options=training["options"],
            use=_use(form, to.name, copy),
            parity=f"Its pictures' pixels are within {parity:.2g} of the trained copy's (0 to 1).",
            evaluation=evaluation,
        )
        write_atomic(card_path, render_card(card).encode())
    return Exported(to, card_path, form, parity)


def _a_module(generator: Generator) -> ModuleGenerator:
    """On the CPU, whose pictures others should make."""
    if isinstance(generator, ModuleGenerator):
        generator.module.cpu()
        return generator
    raise BadOption(
        f"a {type(generator).__name__} cannot be exported; expected a generator made by unfeature.from_module. "
        "Wrap its module with that function"
    )


def _free(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise BadFile(f"{path} is there already; expected a new name. Name another, or move that file away.")


def _content(
    form: str, original: ModuleGenerator, copy: ModuleGenerator, about: dict[str, Any], latents: Tensor
) -> bytes:
    if form == "original":
        return made.original_format(copy)
    if form == "safetensors":
        return checkpoint_bytes(copy, about)
    if form == "diff":
        return made.diff_file(original, copy, about)
    make = made.onnx_model if form == "onnx" else made.exported_program
    return make(copy.module, latents[:2])


def _parity(
    form: str, path: Path, data: bytes, original: ModuleGenerator, copy: ModuleGenerator, latents: Tensor
) -> float:
    """The largest pixel difference; BadCheckpoint where another runtime is further away than PARITY."""
    with torch.no_grad():
        wanted = copy.synthesize(latents)
        if form in ("torch-export", "onnx"):
            images = (made.run_onnx if form == "onnx" else made.run_exported)(data, latents)
        else:
            images = _as_written(form, path, data, original, copy).synthesize(latents)
        parity = float((images - wanted).abs().max())
    if form in ("torch-export", "onnx") and not parity <= made.PARITY:
        raise BadCheckpoint(
            f"the {form} file makes pictures that differ by {parity:.2g}; expected at most {made.PARITY:g}. "
            "It was not kept. Use --format original or safetensors."
        )
    return parity


def _as_written(
    form: str, path: Path, data: bytes, original: ModuleGenerator, copy: ModuleGenerator
) -> ModuleGenerator:
    if form != "diff":
        return made.written_weights(copy, path)
    change = read_safetensors(str(path), data)
    values = applied(str(path), change, made.as_in_file(original), revert=False)
    twin = copy.copy()
    twin.module.load_state_dict(values, strict=False)
    return twin


def _hashes(original: ModuleGenerator, generator: Generator, student: Generator, data: bytes) -> dict[str, str]:
    named = {"original weights": generator.spec.id, "unlearned weights": student.spec.id}
    if original.source is not None:
        named[f"SHA-256 of {original.source.path.name}, which it was made from"] = original.source.sha256
    return {**named, "SHA-256 of this file": hashlib.sha256(data).hexdigest()}


def _use(form: str, name: str, copy: ModuleGenerator) -> str:
    """Lines of Python, or a command, for the card."""
    latents, whole = f"torch.randn(8, {copy.spec.latent_dim})", f"load_generator({name!r})"
    torch_export = f"images = torch.export.load({name!r}).module()({latents})"
    session = f"session = onnxruntime.InferenceSession({name!r})"
    onnx = f'import onnxruntime\n{session}\nimages, = session.run(None, {{"latents": {latents}.numpy()}})'
    ours = f"images = (g := unfeature.{whole}).synthesize(g.sample_latents(numpy.arange(8)))"
    others = f"module.load_state_dict(safetensors.torch.load_file({name!r}))"
    return {
        "original": f"checkpoint = {name!r}  # in place of the original: same format, same names",
        "diff": f"# unfeature apply {name} ORIGINAL --to UNLEARNED       and back with  --revert",
        "onnx": f"import torch\n{onnx}",
        "torch-export": f"import torch\n{torch_export}",
        "safetensors": f"import numpy, unfeature\n{ours}" if copy.origin else f"import safetensors.torch\n{others}",
    }[form]


def apply(diff: str | Path, checkpoint: str | Path, to: str | Path, *, revert: bool = False) -> Path:
    """Put a diff into a checkpoint file, or take it out: the result in the checkpoint's format and names, at `to`.

    `checkpoint` may be a shipped name: the result is the safetensors file that `export` writes. BadFile, BadCheckpoint
    where the diff is for another file.
    """
    to = Path(to)
    _free(to)
    change = read_safetensors(str(diff), read_file(Path(diff)))
    about = {} if revert else {fact: told for fact, told in change[1].items() if fact in ABOUT}
    if str(checkpoint) in zoo.cards("generator") and not Path(checkpoint).exists():
        made.check_ending(to, "safetensors")
        shipped = _a_module(load_generator(str(checkpoint))).copy()
        values = applied(str(diff), change, shipped.module.state_dict(), revert=revert)
        shipped.module.load_state_dict(values, strict=False)
        data = checkpoint_bytes(shipped, about)
    else:
        opened = open_checkpoint(checkpoint, change[0].keys())
        made.check_ending(to, opened.format)
        values = applied(str(diff), change, opened.tensors, revert=revert)
        if "name" in opened.facts:  # ours says of itself what was unlearned
            facts = {fact: told for fact, told in opened.facts.items() if fact in WHOSE} | about
            data = to_safetensors({**opened.tensors, **values}, facts)
        else:
            data = rewritten(opened, values)
    write_atomic(to, data)
    return to
