"""Every shipped preset does the whole job."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SMALL

from unfeature import workflow
from unfeature.options import RunOptions, laid_over
from unfeature.presets import preset_values, presets

FEW = {verb: values for verb, values in SMALL.items() if verb != "find"}


@pytest.mark.slow
@pytest.mark.parametrize("name", presets())
def test_from_a_generator_to_a_report(name: str, tmp_path: Path) -> None:
    paths = workflow.run(tmp_path / "run", RunOptions.parse(laid_over(preset_values(name), FEW)))
    assert all(path.is_file() for path in paths)
    assert (tmp_path / "run" / "unlearned.safetensors").is_file()
