"""Checkpoints: the same content gives the same bytes, and nothing damaged comes in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unfeature import zoo
from unfeature.errors import BadCheckpoint, BadFile, ShapeError, UnknownName
from unfeature.generators.loading import (
    build,
    checkpoint_bytes,
    load_generator,
    read_safetensors,
    to_safetensors,
)
from unfeature.generators.module import from_module, weights_hash
from unfeature.seeds import stream
from unfeature.testing import TinyGenerator


def weights(name: str = "mnist-vae") -> dict[str, Tensor]:
    return read_safetensors(name, zoo.weights(name))[0]


def saved(tmp_path: Path, tensors: dict[str, Tensor]) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(to_safetensors(tensors, {}))
    return path


@pytest.mark.parametrize("name", zoo.cards("generator"))
def test_a_checkpoint_comes_back_as_the_same_generator(name: str, tmp_path: Path) -> None:
    generator = load_generator(name)
    path = tmp_path / "out.safetensors"
    path.write_bytes(checkpoint_bytes(generator, {"unlearned": "thickness"}))
    again = load_generator(str(path))
    assert again.spec == generator.spec
    assert checkpoint_bytes(again, {"unlearned": "thickness"}) == path.read_bytes()
    z = generator.sample_latents(stream("gallery", 0, 0, 2))
    assert torch.equal(generator.synthesize(z), again.synthesize(z))
    _, facts = read_safetensors(str(path), path.read_bytes())
    assert facts["unlearned"] == "thickness" and facts["family"] == zoo.cards("generator")[name]["family"]


def test_the_same_content_gives_the_same_bytes() -> None:
    a, b = torch.ones(2), torch.zeros(3)
    facts = {"x": 1, "y": [2]}
    assert to_safetensors({"a": a, "b": b}, facts) == to_safetensors({"b": b, "a": a}, dict(reversed(facts.items())))
    assert to_safetensors({"a": a}, facts) != to_safetensors({"a": a}, {"x": 2})


def test_weights_are_put_in_place_of_the_own_ones(tmp_path: Path) -> None:
    tensors = {key: value * 0.5 for key, value in weights().items()}
    generator = load_generator("mnist-vae", saved(tmp_path, tensors))
    assert generator.spec.weights not in (load_generator("mnist-vae").spec.weights, "")
    torch.testing.assert_close(generator.module.state_dict(), tensors)


@pytest.mark.parametrize("keep", [0, 7, 100, 20_000, -1])
def test_truncated_files_are_refused(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(checkpoint_bytes(load_generator("mnist-vae"), {})[:keep])
    with pytest.raises(BadCheckpoint, match=r"is not a whole safetensors file .* It was cut off or is of another kind"):
        load_generator(str(path))
    with pytest.raises(BadCheckpoint, match=r"is not a whole safetensors file"):
        load_generator("mnist-vae", path)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(bad: float, tmp_path: Path) -> None:
    tensors = weights()
    tensors["fc2.weight"][3, 4] = bad
    with pytest.raises(BadCheckpoint, match=r'NaN or infinite values in weight "fc2.weight"; expected finite'):
        load_generator("mnist-vae", saved(tmp_path, tensors))


def test_weights_of_other_shapes_are_named(tmp_path: Path) -> None:
    tensors = weights()
    tensors["fc1.weight"] = tensors["fc1.weight"][:, :5]
    tensors["more"] = tensors.pop("out.bias")
    with pytest.raises(BadCheckpoint) as raised:
        load_generator("mnist-vae", saved(tmp_path, tensors))
    first, *table, remedy = str(raised.value).splitlines()
    assert first.endswith("weights.safetensors does not fit this generator:")
    rows = [("tensor", "file", "model"), ("fc1.weight", "256x5", "256x12"), ("out.bias", "missing", "4")]
    assert [tuple(line.split()) for line in table] == [*rows, ("more", "4", "unexpected")]
    assert len({line.index(word) for line, word in zip(table, ("model", "256x12", "4", "unex"), strict=True)}) == 1
    assert remedy.startswith("Sizes differ: build the model with the sizes of the file")


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r'unknown generator "mnist-vea"; .* Did you mean "mnist-vae"?'):
        load_generator("mnist-vea")
    facts = {"name": "x", "family": "conv-vea", "arguments": {}, "latent_dim": 2}
    with pytest.raises(UnknownName, match=r'unknown generator family "conv-vea"; .* Did you mean "conv-vae"?'):
        build(facts, {}, "x")


def test_a_checkpoint_without_family_asks_for_the_code(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(checkpoint_bytes(TinyGenerator(), {}))
    with pytest.raises(BadCheckpoint, match=r"does not say which family .* --generator FILE.py:FUNCTION --weights"):
        load_generator(str(path))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"cannot read .*no.safetensors: No such file"):
        load_generator(str(tmp_path / "no.safetensors"))


def test_damaged_shipped_weights_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "weights", lambda name: b"x")
    with pytest.raises(BadCheckpoint, match=r"its card says .* install unfeature again"):
        load_generator("mnist-vae")


FOREIGN = """
from unfeature.testing import TinyGenerator
def load():
    return TinyGenerator()
def broken():
    raise RuntimeError("no luck")
def other():
    return 3
"""


def test_a_foreign_generator_comes_from_a_file_with_its_weights(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FOREIGN)
    generator = load_generator(f"{file}:load")
    assert generator.spec == TinyGenerator().spec
    tensors = {key: value * 0.5 for key, value in generator.module.state_dict().items()}
    halved = load_generator(f"{file}:load", saved(tmp_path, tensors))
    assert halved.spec.weights != generator.spec.weights
    with pytest.raises(BadFile, match=r"failed in line 6: RuntimeError: no luck\. Mend the function"):
        load_generator(f"{file}:broken")
    with pytest.raises(BadFile, match=r"gave a int; expected a Generator"):
        load_generator(f"{file}:other")
    with pytest.raises(UnknownName, match=r'"laod"; .* Did you mean "load"'):
        load_generator(f"{file}:laod")
    with pytest.raises(BadFile, match=r"there is no file"):
        load_generator(f"{tmp_path}/no.py:load")


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError, match=r'"tiny" got latents of shape \(2, 5\); expected \(n, 4\)'):
        TinyGenerator().synthesize(torch.zeros(2, 5))
    with pytest.raises(ShapeError, match=r"images of shape \(1, 3\); expected \(n, c, h, w\)"):
        _ = from_module("flat", nn.Linear(4, 3), 4).spec
    with pytest.raises(BadCheckpoint, match=r'generator "nan" has NaN'):
        from_module("nan", nn.Linear(4, 3).requires_grad_(False).apply(lambda m: m.weight.fill_(torch.nan)), 4)


def test_weights_hash_sees_values_names_and_shapes_but_not_layout() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))  # batch norm counts in a tensor without dimensions
    before = weights_hash(module)
    assert len(before) == 16 and before == weights_hash(module)
    with torch.no_grad():
        module[0].weight[0, 0] += 1e-3
    assert weights_hash(module) != before
    assert weights_hash(nn.Linear(2, 2)) != weights_hash(nn.Linear(2, 2))
