"""Marks by words or example pictures: a tiny random CLIP made on the spot, against transformers' own preparation."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from PIL import Image
from torch import Tensor

from unfeature.artifacts import Feedback
from unfeature.errors import BadFile, BadOption
from unfeature.generators.loading import load_generator
from unfeature.images import read_picture
from unfeature.metrics.clip import ClipModel, ContrastJudge, like_pictures, like_sentence
from unfeature.metrics.judges import CutJudge
from unfeature.metrics.preparation import Preparation
from unfeature.options import MarkOptions
from unfeature.seeds import stream
from unfeature.store import Run
from unfeature.testing import check_judge
from unfeature.workflow import mark

transformers = pytest.importorskip("transformers")

WORDS = [
    "<pad>",
    "<unk>",
    "<s>",
    "</s>",
    "a",
    "face",
    "digit",
    "with",
    "without",
    "glasses",
    "thick",
    "thin",
    "strokes",
]
CLIP_PREPARATION = {
    "do_resize": True,
    "size": {"shortest_edge": 32},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "CLIPImageProcessor",
}
SIGLIP_PREPARATION = {
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "image_processor_type": "SiglipImageProcessor",
}


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=16, **names)


def _save(folder: Path, model: Any, preparation: dict[str, Any]) -> Path:
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preparation))
    return folder


SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
TEXT = {**SMALL, "vocab_size": len(WORDS), "max_position_embeddings": 16, "pad_token_id": 0}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of 20,000 random weights; read only."""
    torch.manual_seed(0)
    text = {**TEXT, "bos_token_id": 2, "eos_token_id": 3}
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8)
    return _save(tmp_path_factory.mktemp("clip") / "tiny-clip", transformers.CLIPModel(config), CLIP_PREPARATION)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = transformers.SiglipConfig(text_config={**TEXT, "projection_size": 16}, vision_config=VISION)
    return _save(
        tmp_path_factory.mktemp("siglip") / "tiny-siglip", transformers.SiglipModel(config), SIGLIP_PREPARATION
    )


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A copy of the model to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "model"))


def digits(n: int = 12) -> Tensor:
    generator = load_generator("mnist-vae")
    with torch.no_grad():
        return generator.synthesize(generator.sample_latents(stream("test", 0, 0, n)))


# The model


@pytest.mark.parametrize("kind", ["folder", "siglip"])
def test_judges_keep_the_conventions(kind: str, request: pytest.FixtureRequest) -> None:
    model = ClipModel(request.getfixturevalue(kind))
    check_judge(ContrastJudge(model, "thick strokes", "thin strokes"), digits())
    similar = like_sentence(model, "a digit with thick strokes")
    values = similar.measure(digits(40))
    assert values.dtype == torch.float64 and values.shape == (40,) and float(values.abs().max()) <= 1
    between = float(values.sort().values[19:21].mean())  # at a picture's own value its last digit would decide
    check_judge(CutJudge(similar, between), digits())
    check_judge(ContrastJudge(model, "a face", "a digit"), torch.rand(3, 3, 50, 40))


def test_two_loads_say_the_same(folder: Path) -> None:
    one, other = (ContrastJudge(ClipModel(folder), "a face", "a digit") for _ in range(2))
    assert torch.equal(one.score(digits()), other.score(digits()))
    assert one.about == other.about
    assert "tiny-clip, weights " in one.name


@pytest.mark.parametrize("kind", ["folder", "siglip"])
def test_scores_are_those_of_the_model_itself(kind: str, request: pytest.FixtureRequest) -> None:
    where = request.getfixturevalue(kind)
    model, pixels = ClipModel(where), torch.rand(4, 3, 32, 32)
    network = transformers.AutoModel.from_pretrained(str(where), local_files_only=True).eval()
    padded = {"padding": "max_length", "max_length": 16} if kind == "siglip" else {"padding": True}
    given = _tokenizer()(["a face", "a digit without glasses"], return_tensors="pt", **padded)
    mask = {} if kind == "siglip" else {"attention_mask": given["attention_mask"]}
    with torch.no_grad():
        told = network(input_ids=given["input_ids"], pixel_values=model.prepare(pixels), **mask)
    score = ContrastJudge(model, "a face", "a digit without glasses").score(pixels)
    assert torch.allclose(score, told.logits_per_image.softmax(dim=1)[:, 0], atol=1e-5)


def test_half_precision_is_computed_in_float32(copied: Path) -> None:
    transformers.CLIPModel.from_pretrained(str(copied)).half().save_pretrained(copied)
    assert ClipModel(copied).see(digits(2)).dtype == torch.float32


def test_a_sentence_that_is_too_long_is_refused_not_cut(folder: Path) -> None:
    with pytest.raises(BadOption, match=r"22 tokens; the model reads 16. Say it shorter"):
        ClipModel(folder).read(["a face " * 10])


# Preparing pictures


def _oracle(kind: str, settings: dict[str, Any]) -> Any:
    made = getattr(transformers, f"{kind}ImageProcessorPil", None) or getattr(transformers, f"{kind}ImageProcessor")
    return made(**{key: value for key, value in settings.items() if key != "image_processor_type"})


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("CLIP", CLIP_PREPARATION),
        ("CLIP", {**CLIP_PREPARATION, "resample": 2}),
        ("CLIP", {**CLIP_PREPARATION, "crop_size": {"height": 24, "width": 28}}),
        ("CLIP", {**CLIP_PREPARATION, "crop_size": {"height": 45, "width": 39}}),
        ("CLIP", {**CLIP_PREPARATION, "do_center_crop": False}),
        ("CLIP", {**CLIP_PREPARATION, "do_resize": False}),
        ("CLIP", {**CLIP_PREPARATION, "do_normalize": False}),
        ("Siglip", SIGLIP_PREPARATION),
        ("Siglip", {**SIGLIP_PREPARATION, "resample": 3}),
    ],
)
@pytest.mark.parametrize("size", [(28, 28), (64, 64), (218, 178), (50, 90), (33, 32), (256, 256)])
def test_pictures_are_prepared_as_pil_would(kind: str, settings: dict[str, Any], size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))
    picture = np.clip(picture + rng.integers(-20, 20, picture.shape), 0, 255).astype(np.uint8)
    wanted = _oracle(kind, settings)(picture, return_tensors="np", input_data_format="channels_last")["pixel_values"]
    got = Preparation.of(settings)(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255)
    assert got.shape == wanted.shape
    apart = (got - torch.from_numpy(np.asarray(wanted))).abs()
    level = 1 / 255 / min(settings["image_std"] if settings["do_normalize"] else [1.0])
    assert float(apart.mean()) < 0.4 * level
    assert float(apart.max()) < 1.25 * level


def test_grey_pictures_are_prepared_like_colour(folder: Path) -> None:
    model, grey = ClipModel(folder), torch.rand(2, 1, 28, 28)
    assert torch.equal(model.see(grey), model.see(grey.repeat(1, 3, 1, 1)))


def test_settings_of_newer_releases_are_found(copied: Path) -> None:
    before = ClipModel(copied).see(digits(2))
    old = copied / "preprocessor_config.json"
    (copied / "processor_config.json").write_text(json.dumps({"image_processor": json.loads(old.read_text())}))
    old.unlink()
    assert torch.equal(ClipModel(copied).see(digits(2)), before)


def test_sizes_as_whole_numbers_mean_the_shorter_side_and_a_square() -> None:
    plain = Preparation.of({**CLIP_PREPARATION, "size": 32, "crop_size": 32})
    assert plain == Preparation.of(CLIP_PREPARATION)


# Example pictures


def _picture(path: Path, seed: int, mode: str = "RGB") -> Path:
    array = np.random.default_rng(seed).integers(0, 256, (30, 20, 4), dtype=np.uint8)
    Image.fromarray(array).convert(mode).save(path)
    return path


def test_examples_find_themselves(folder: Path, tmp_path: Path) -> None:
    model, examples = ClipModel(folder), tmp_path / "examples"
    examples.mkdir()
    _picture(examples / "one.png", 1)
    (examples / "notes.txt").write_text("not a picture")
    similar = like_pictures(model, [str(examples)])
    assert float(similar.measure(read_picture(examples / "one.png"))) == pytest.approx(1, abs=1e-6)
    assert "1 example picture" in similar.name
    assert float(similar.measure(read_picture(_picture(tmp_path / "two.png", 2)))) < 0.9999
    assert "2 example pictures" in like_pictures(model, [str(examples), str(tmp_path / "two.png")]).name


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1"])
def test_pictures_of_any_kind_are_read(mode: str, tmp_path: Path) -> None:
    read = read_picture(_picture(tmp_path / "x.png", 3, mode))
    assert read.shape == (1, 3, 30, 20) and read.dtype == torch.float32
    assert float(read.min()) >= 0 and float(read.max()) <= 1


def test_a_photograph_is_turned_the_right_way_up(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (20, 30)).save(tmp_path / "x.jpg", exif=exif)
    assert read_picture(tmp_path / "x.jpg").shape == (1, 3, 20, 30)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_what_is_no_picture_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(BadFile, match=r"x\.png as a picture"):
        read_picture(tmp_path / "x.png")


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _picture(tmp_path / "x.png", 4)
    for limit in (500, 100):  # PIL warns beyond its limit and refuses beyond twice that
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings(), pytest.raises(BadFile, match="exceeds limit"):
            read_picture(path)


# Folders that are no model


def _drop(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def _edit(name: str, **more: Any) -> Any:
    def act(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **more}))

    return act


def _pickle_instead(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _fewer_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    kept = {key: value for key, value in load_file(path).items() if key != "text_projection.weight"}
    save_file(kept, path, {"format": "pt"})


def _half_the_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:3000])


def _text_only(folder: Path) -> None:
    config = transformers.CLIPTextConfig(**TEXT, bos_token_id=2, eos_token_id=3)
    transformers.CLIPTextModel(config).save_pretrained(folder)


DAMAGES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "no config": (_drop("config.json"), ("config.json", "save_pretrained")),
    "no weights": (_drop("model.safetensors"), ("safetensors",)),
    "a pickle": (_pickle_instead, ("pytorch_model.bin", "run code", "save_pretrained")),
    "no tokenizer": (lambda folder: [_drop(f"tokenizer{x}.json")(folder) for x in ("", "_config")], ("tokenizer",)),
    "no preparation": (_drop("preprocessor_config.json"), ("preprocessor_config.json",)),
    "preparation is no JSON": (
        lambda f: (f / "preprocessor_config.json").write_text("{"),
        ("preprocessor_config", "Copy"),
    ),
    "preparation without mean": (_edit("preprocessor_config.json", image_mean=None), ("preprocessor_config", "Copy")),
    "another filter": (_edit("preprocessor_config.json", resample=1), ("preprocessor_config", "Copy")),
    "another size": (_edit("preprocessor_config.json", size={"longest_edge": 3}), ("longest_edge", "Copy")),
    "padding": (_edit("preprocessor_config.json", do_pad=True), ("do_pad", "Copy")),
    "code of its own": (
        _edit(
            "config.json", model_type="theirs", auto_map={"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model"}
        ),
        ("cannot be loaded", "Copy"),
    ),
    "a missing weight": (_fewer_weights, ("lacks weight text_projection.weight", "--clip-model")),
    "cut off": (_half_the_weights, ("cannot be loaded", "Copy the folder")),
    "text only": (_text_only, ("CLIPText", "without get_image_features", "--clip-model")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_is_no_model_is_one_sentence(damage: str, copied: Path) -> None:
    act, words = DAMAGES[damage]
    act(copied)
    (copied / "theirs.py").write_text("raise SystemExit('their code was run')\n")
    with pytest.raises(BadFile) as raised:
        ClipModel(copied)
    assert all(word in str(raised.value) for word in words), str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_folder_means_no_download() -> None:
    with pytest.raises(BadFile, match=r'no folder "openai/clip-vit-base-patch32".*Nothing is downloaded'):
        ClipModel("openai/clip-vit-base-patch32")


def test_without_transformers_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BadOption, match=r'pip install "unfeature\[clip\]"'):
        ClipModel(folder)


# In a run


def _marked(run: Path) -> Feedback:
    return Feedback.from_json(json.loads((run / "feedback.json").read_text()))


def test_a_prompt_with_a_contrast_marks(tiny_run: Path, folder: Path, command: Command) -> None:
    flags = ["--clip-model", folder, "--prompt", "a face", "--contrast", "a digit"]
    said = command("mark", tiny_run, "faces", "--by", "clip", *flags, "--per-side", "20")
    assert said.code == 0, said.err
    feedback = _marked(tiny_run)
    assert feedback.source.startswith("simulated by clip (tiny-clip, weights ")
    assert '"a face" against "a digit"' in feedback.source
    judge, generator = ContrastJudge(ClipModel(folder), "a face", "a digit"), load_generator("mnist-vae")
    for seeds, shows in ((feedback.positives, True), (feedback.negatives, False)):
        if seeds:
            images = generator.synthesize(generator.sample_latents(np.array(seeds)))
            assert bool(((judge.score(images) >= 0.5) == shows).all())


def test_a_prompt_alone_marks_the_top_share(tiny_run: Path, folder: Path, command: Command) -> None:
    flags = ["--clip-model", folder, "--prompt", "thick strokes", "--share", "0.2", "--per-side", "1000"]
    assert command("mark", tiny_run, "thick", "--by", "clip", *flags).code == 0
    feedback = _marked(tiny_run)
    assert feedback.cut is not None
    assert len(feedback.positives) / 400 == pytest.approx(0.2, abs=0.07)


def test_examples_mark_and_another_judge_decides(
    tiny_run: Path, folder: Path, command: Command, tmp_path: Path
) -> None:
    example = _picture(tmp_path / "example.png", 5)
    flags = ["--clip-model", folder, "--examples", example, "--per-side", "20"]
    assert command("mark", tiny_run, "like it", "--by", "clip", *flags, "--judge", "slant").code == 0
    request = json.loads((tiny_run / "request.json").read_text())
    assert (request["by"], request["judge"]) == ("clip", "slant") and request["cut"] is not None
    for line in (["find"], ["preview", "--count", "50"], ["unlearn", "--steps", "2"], ["evaluate", "--count", "100"]):
        said = command(line[0], tiny_run, *line[1:])
        assert said.code == 0, said.err
    assert command("report", tiny_run).code == 0
    report = (tiny_run / "report.md").read_text()
    assert "simulated by clip (tiny-clip" in report and "like 1 example picture" in report


def test_without_another_judge_nobody_judges(tiny_run: Path, folder: Path, command: Command) -> None:
    flags = ["--clip-model", folder, "--prompt", "a face", "--per-side", "20"]
    assert command("mark", tiny_run, "faces", "--by", "clip", *flags).code == 0
    assert json.loads((tiny_run / "request.json").read_text())["judge"] == ""
    for line in (["find"], ["preview", "--count", "50"], ["unlearn", "--steps", "1"]):
        assert command(line[0], tiny_run, *line[1:]).code == 0
    said = command("evaluate", tiny_run)
    assert said.code == 2
    assert "nobody judges" in said.err and "--by clip ... --judge FILE.py:FUNCTION" in said.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--by", "clip"], ("--clip-model FOLDER", "--prompt", "--examples")),
        (["--by", "clip", "--clip-model", "m"], ("--prompt",)),
        (["--by", "clip", "--clip-model", "m", "--prompt", "x", "--examples", "y"], ("either",)),
        (["--by", "clip", "--clip-model", "m", "--examples", "y", "--contrast", "x"], ("--contrast", "--prompt")),
        (["--by", "slant", "--prompt", "x"], ("--prompt was given with --by slant", "--by clip")),
        (["--by", "marks.csv", "--clip-model", "m"], ("--clip-model was given with --by marks.csv",)),
        (["--by", "slant", "--judge", "clip"], ("clip", "only guides", "--judge FILE.py:FUNCTION")),
        (["--by", "clip", "--clip-model", "no-such-folder", "--prompt", "x"], ("no-such-folder", "downloaded")),
    ],
)
def test_mistakes_are_one_sentence(flags: list[str], words: tuple[str, ...], tiny_run: Path, command: Command) -> None:
    before = (tiny_run / "feedback.json").read_bytes()
    said = command("mark", tiny_run, "f", *flags)
    assert said.code == 2 and "Traceback" not in said.err
    assert all(word in said.err for word in words), said.err
    assert (tiny_run / "feedback.json").read_bytes() == before


def test_from_python_and_no_examples_in_a_folder(tiny_run: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    options = MarkOptions(clip_model=str(folder), examples=(str(tmp_path / "nothing"),))
    with pytest.raises(BadFile, match=r"nothing has no pictures; expected files that end with \.png"):
        mark(tiny_run, "f", "clip", options)


def test_what_the_model_marked_is_kept_while_another_feature_goes(
    tiny_run: Path, folder: Path, command: Command, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(tiny_run, tmp_path / "other"))
    flags = ["--clip-model", folder, "--prompt", "a face", "--share", "0.3", "--per-side", "60"]
    assert command("mark", other, "faces", "--by", "clip", *flags).code == 0
    keep = f"faces={other / 'feedback.json'}"
    quick = ["--finder", "counterfactual", "--extractor", "", "--samples", "600", "--search-steps", "5"]
    said = command("find", tiny_run, *quick, "--keep", keep)
    assert said.code == 0, said.err
    facts = Run(tiny_run).read_facts("feature.safetensors")
    assert facts["about"]["keep"] == ["faces"] and facts["options"]["keep"] == [keep]
