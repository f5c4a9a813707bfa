"""Text or pictures say what to look for: a CLIP-like model from a folder of the user's marks. It guides, never judges.

Nothing is downloaded and no code of a model is run: only a local folder, only safetensors, only architectures that the
installed `transformers` has itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unfeature.devices import placed
from unfeature.errors import BadFile, BadOption, first_line
from unfeature.images import SUFFIXES, read_picture
from unfeature.metrics.preparation import Preparation

BATCH = 32
"""Pictures the model sees at a time."""

VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")
"""Files one of which a tokenizer needs; without any, transformers makes one that knows no word."""


class ClipModel:
    """A frozen model that puts pictures and sentences into one space."""

    def __init__(self, folder: str | Path) -> None:
        """Load a folder as `save_pretrained` writes it; BadOption without `transformers`, BadFile for anything else."""
        self.folder = Path(folder)
        _check_folder(self.folder)
        self.prepare = Preparation.read(self.folder)
        self._network, self._tokenizer = _load(self.folder)
        placed(self._network)
        digest = hashlib.sha256()
        for path in sorted(self.folder.glob("*.safetensors")):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        self.hash = digest.hexdigest()

    @property
    def about(self) -> str:
        """Name and weights, for reports."""
        return f"{self.folder.resolve().name}, weights {self.hash[:16]}"

    @property
    def scale(self) -> float:
        """What cosine similarities are multiplied with before a softmax."""
        return float(self._network.logit_scale.detach().exp())

    def see(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n, k) of length 1."""
        look, parts = self._network.get_image_features, torch.split(images.float(), BATCH)
        with torch.no_grad():
            seen = [_unit(look(pixel_values=self.prepare(part).to(self._network.device))) for part in parts]
        return torch.cat(seen).to(images.device)

    def read(self, sentences: Sequence[str]) -> Tensor:
        """m sentences -> (m, k) of length 1; BadOption for one that is too long for the model."""
        text = getattr(self._network.config, "text_config", None)
        longest = int(getattr(text, "max_position_embeddings", 0)) or None
        fixed = str(getattr(self._network.config, "model_type", "")).startswith("siglip")  # trained on padded sentences
        for sentence in sentences:
            count = len(self._tokenizer(sentence)["input_ids"])
            if longest is not None and count > longest:
                raise BadOption(f'"{sentence}" has {count} tokens; the model reads {longest}. Say it shorter.')
        padding = {"padding": "max_length", "max_length": longest} if fixed else {"padding": True}
        given = self._tokenizer(list(sentences), return_tensors="pt", **padding)
        wanted = {"input_ids", "attention_mask"} - ({"attention_mask"} if fixed else set())
        with torch.no_grad():
            tokens = {key: given[key].to(self._network.device) for key in wanted if key in given}
            return _unit(self._network.get_text_features(**tokens)).cpu()


def _unit(features: Any) -> Tensor:
    """Rows of length 1; releases of transformers differ in whether they wrap them."""
    rows: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return F.normalize(rows.float(), dim=1)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise BadFile(
            f'there is no folder "{folder}"; expected a CLIP-like model as `save_pretrained` writes it. Nothing is '
            "downloaded: fetch the model yourself and name its folder:  --clip-model FOLDER"
        )
    if not (folder / "config.json").is_file():
        raise BadFile(f"{folder} has no config.json; expected the folder of a model as `save_pretrained` writes it.")
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise BadFile(
            f"{folder} has no tokenizer (tokenizer.json or another vocabulary); expected the folder of a model as "
            "`save_pretrained` writes it, with model and processor in one place."
        )
    if not any(folder.glob("*.safetensors")):
        raise BadFile(
            f"{folder} has no weights as safetensors; pickles (pytorch_model.bin) can run code and are not read. Take "
            "the model's safetensors, or save it again with  save_pretrained(FOLDER)  in code you trust."
        )


def _load(folder: Path) -> tuple[Any, Any]:
    try:
        import transformers
    except ImportError as error:
        raise BadOption(
            "--by clip needs the package transformers, which is not installed here. Install it:  "
            'pip install "unfeature[clip]"'
        ) from error
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _quiet(transformers):
            network, told = transformers.AutoModel.from_pretrained(
                str(folder), use_safetensors=True, output_loading_info=True, **local
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **local)
    except Exception as error:  # transformers has no common class for what may be wrong with a folder
        first = first_line(error).rstrip(". ")
        raise BadFile(
            f"{folder} cannot be loaded as a CLIP-like model ({first}); expected config.json, safetensors and a "
            "tokenizer as `save_pretrained` writes them. Copy the folder again."
        ) from error
    missing = sorted(map(str, [*told["missing_keys"], *told["mismatched_keys"]]))
    parts = ("get_image_features", "get_text_features", "logit_scale")
    lacking = [part for part in parts if not hasattr(network, part)]
    if missing or lacking:
        got = f"lacks weight {missing[0]}" if missing else f"is a {type(network).__name__} without {lacking[0]}"
        raise BadFile(
            f"the model in {folder} {got}; expected one that sees pictures and reads text, such as CLIP or SigLIP. "
            "Name another:  --clip-model FOLDER"
        )
    return network.float().eval().requires_grad_(False), tokenizer


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bars while a model is loaded."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@dataclass(frozen=True)
class ContrastJudge:
    """Finds the feature where a picture is nearer to one sentence than to another, at the model's own scale."""

    model: ClipModel
    prompt: str
    contrast: str

    @property
    def name(self) -> str:
        """Model and both sentences, for reports."""
        return f'clip ({self.model.about}): "{self.prompt}" against "{self.contrast}"'

    @property
    def about(self) -> Mapping[str, Any]:
        """Name and kind."""
        return {"name": self.name, "kind": "image-and-text model"}

    def score(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,) in [0, 1]: the softmax share of the first sentence."""
        sentences = self.model.read([self.prompt, self.contrast])
        return (self.model.scale * self.model.see(images) @ sentences.T).softmax(dim=1)[:, 0]


@dataclass(frozen=True)
class Similarity:
    """A Measurement: how near a picture is to a sentence or to example pictures."""

    model: ClipModel
    wanted: Tensor
    """(k,) of length 1."""
    name: str
    unit: str = "cosine similarity"

    def measure(self, images: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n,) float64 in [-1, 1]."""
        return (self.model.see(images) @ self.wanted).double()


def like_sentence(model: ClipModel, prompt: str) -> Similarity:
    """Nearness to a sentence."""
    return Similarity(model, model.read([prompt])[0], f'clip ({model.about}): "{prompt}"')


def like_pictures(model: ClipModel, paths: Sequence[str]) -> Similarity:
    """Nearness to the mean of example pictures: image files, or folders of them. BadFile."""
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(f for f in path.iterdir() if f.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise BadFile(f"{', '.join(paths)} has no pictures; expected files that end with {', '.join(SUFFIXES)}.")
    seen = torch.cat([model.see(read_picture(file)) for file in files])
    mean = F.normalize(seen.mean(dim=0), dim=0)
    return Similarity(model, mean, f"clip ({model.about}): like {len(files)} example picture{'s' * (len(files) > 1)}")
