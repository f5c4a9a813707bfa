"""The whole job from one set of options."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unfeature.artifacts import Preview, StepRecord
from unfeature.errors import BadFile
from unfeature.options import RunOptions
from unfeature.presets import preset
from unfeature.workflow.finding import find
from unfeature.workflow.marking import mark, sample
from unfeature.workflow.proving import evaluate, report
from unfeature.workflow.training import preview, unlearn


def read_options(path: str | Path | None = None, base: str = "") -> RunOptions:
    """Options from a TOML file, a table for each verb, over those of a preset; BadFile, UnknownName, BadOption."""
    values = _toml(f"preset {base}", preset(base)) if base else {}
    if path is not None:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise BadFile(f"cannot read {path}: {error.strerror}. Check the path.") from error
        except UnicodeDecodeError as error:
            raise BadFile(f"{path} is not text in UTF-8: {error.reason}. Save it again as UTF-8.") from error
        for key, value in _toml(str(path), text).items():
            below = values.get(key)
            values[key] = {**below, **value} if isinstance(value, dict) and isinstance(below, dict) else value
    return RunOptions.parse(values)


def _toml(name: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"{name} is not TOML: {error}. Mend that line.") from error


def run(
    folder: str | Path,
    options: RunOptions,
    *,
    on_verb: Callable[[str], None] = lambda verb: None,
    on_note: Callable[[str], None] = lambda note: None,
    on_preview: Callable[[Preview, float], None] = lambda preview, wanted: None,
    on_step: Callable[[StepRecord], None] = lambda record: None,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Every verb in turn; given again after an interruption it goes on, to the same bytes. The report's paths."""
    on_verb("sample")
    sample(folder, options.generator, options.sample, options.weights, options.arguments, on_note)
    on_verb("mark")
    mark(folder, options.feature, options.marks, options.mark, options.judge)
    on_verb("find")
    find(folder, options.find, on_batch, on_note)
    on_verb("preview")
    preview(folder, options.preview)
    on_verb("unlearn")
    unlearn(folder, options.unlearn, on_preview, on_step)
    on_verb("evaluate")
    evaluate(folder, options.evaluate, on_batch)
    on_verb("report")
    return report(folder)
