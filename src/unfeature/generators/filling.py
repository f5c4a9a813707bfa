"""Weights into a module: what does not fit is told as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from unfeature.errors import BadCheckpoint

LINES = 12
"""Of a table of misfits, at most."""

REMEDIES = {
    "names": "The names are another model's: use this generator's own weights, or the code that these belong to.",
    "sizes": "Sizes differ: build the model with the sizes of the file, or use this generator's own weights.",
    "numbers": "Weights are floating-point numbers: use this generator's own weights, saved before any quantisation.",
}
"""What does not fit -> what to do."""


@dataclass(frozen=True)
class _Misfit:
    kind: str
    """Of REMEDIES."""
    name: str
    file: str
    model: str


def fill(module: nn.Module, tensors: Mapping[str, Tensor], where: str, *, others: bool = False) -> list[str]:
    """Copy `tensors` into the module as its own dtypes; errors and notes as `check_fit`, BadCheckpoint also for NaN."""
    notes = check_fit(module, tensors, where, others=others)
    for name, old in module.state_dict().items():
        if name in tensors:
            old.copy_(tensors[name].detach().reshape(old.shape))
    check_finite(where, module)
    return notes


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], where: str, *, others: bool = False) -> list[str]:
    """BadCheckpoint with a table of what does not fit; the module may be on the meta device.

    `others`: tensors of layers that the module does not have, such as an encoder's, are left out. Notes, in words.
    """
    own = module.state_dict()
    layers = {_layer(name) for name in own} | {""}
    extra = [name for name in tensors if name not in own]
    foreign = {name for name in extra if others and _layer(name) not in layers}
    misfits = _misfits(own, tensors, [name for name in extra if name not in foreign])
    if misfits:
        if any(misfit.file == "missing" for misfit in misfits):
            misfits = _misfits(own, tensors, extra)  # which may be what is missing, under other names
        kinds = {misfit.kind for misfit in misfits}
        remedy = REMEDIES[next(kind for kind in ("sizes", "names", "numbers") if kind in kinds)]
        raise BadCheckpoint(f"{where} does not fit this generator:\n{_table(misfits)}\n{remedy}")
    if not foreign:
        return []
    parts = list(dict.fromkeys(name.partition(".")[0] for name in tensors if name in foreign))
    shown = ", ".join(map(_short, parts[:8])) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "")
    return [f"left out, since this generator has no such layers: {shown}"]


def check_finite(name: str, module: nn.Module) -> None:
    """BadCheckpoint, naming the first tensor, where a weight is NaN or infinite."""
    for key, value in module.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise BadCheckpoint(
                f'generator "{name}" has NaN or infinite values in weight "{key}"; expected finite numbers. '
                "The file is damaged or its training diverged: use another checkpoint."
            )


def _layer(name: str) -> str:
    """Of `a.3.weight` it is `a.#`: layers of one list are known by the list."""
    return ".".join("#" if word.isdigit() else word for word in name.split(".")[:-1])


def _counts(name: str) -> bool:
    """Whether this is batch norm's counter of batches, which no image depends on and old files do not have."""
    return name.endswith("num_batches_tracked")


def _misfits(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], extra: list[str]) -> list[_Misfit]:
    """Everything that does not fit: other sizes first."""
    sizes, numbers = [], []
    for name, model in own.items():
        file = tensors.get(name)
        if file is None:
            continue
        if file.shape != model.shape and not file.numel() == model.numel() == 1:
            sizes.append(_Misfit("sizes", name, _shape(file), _shape(model)))
        elif file.is_floating_point() != model.is_floating_point() or file.is_complex() != model.is_complex():
            numbers.append(_Misfit("numbers", name, str(file.dtype)[6:], str(model.dtype)[6:]))
    absent = [name for name in own if name not in tensors and not _counts(name)]
    missing = [_Misfit("names", name, "missing", _shape(own[name])) for name in absent]
    return sizes + numbers + missing + [_Misfit("names", name, _shape(tensors[name]), "unexpected") for name in extra]


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "one number"


def _table(misfits: list[_Misfit]) -> str:
    """Three aligned columns under their names."""
    rows = [("tensor", "file", "model"), *((_short(m.name), m.file, m.model) for m in misfits[:LINES])]
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"  {name:{wide[0]}}  {file:{wide[1]}}  {model}" for name, file, model in rows]
    return "\n".join(lines + ([f"  and {len(misfits) - LINES} more"] if len(misfits) > LINES else []))


def _short(name: str) -> str:
    """At most 60 characters, all of them printable."""
    name = name if name.isprintable() else ascii(name)
    return name if len(name) <= 60 else f"...{name[-57:]}"
