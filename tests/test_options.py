"""One schema for flags, TOML and docs: nothing unknown, nothing undescribed, all problems at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from unfeature import options
from unfeature.errors import BadOption, UnknownName
from unfeature.options import FindOptions, Options, RunOptions, UnlearnOptions
from unfeature.presets import preset, preset_values, presets, read_options

MODELS = [
    kind
    for kind in vars(options).values()
    if isinstance(kind, type) and issubclass(kind, Options) and kind is not Options
]


def test_no_torch_is_imported() -> None:
    code = "import sys, unfeature.options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("model", MODELS)
def test_every_field_has_a_description_and_a_default(model: type[Options]) -> None:
    model()
    for name, field in model.model_fields.items():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            assert field.description, f"{model.__name__}.{name}"
            assert field.description.endswith("."), f"{model.__name__}.{name}"


@pytest.mark.parametrize("name", presets())
def test_presets_parse_and_say_nothing_unknown(name: str) -> None:
    text = preset(name)
    parsed = RunOptions.parse(preset_values(name))
    assert RunOptions.parse(parsed.model_dump()) == parsed
    assert text.startswith("# ")


def test_an_unknown_preset_comes_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r'unknown preset "papre"; .* Did you mean "paper"?'):
        preset("papre")


def test_the_papers_preset_is_the_papers_method() -> None:
    paper = RunOptions.parse(preset_values("paper"))
    assert (paper.find.finder, paper.unlearn.unlearner, paper.find.margin) == ("linear", "distillation", 0.0)
    assert paper.unlearn.alpha > 0 and paper.unlearn.perceptual > 0


def test_another_feature_of_a_run_is_marked_and_found_like_its_own() -> None:
    own = {"mark": {"per_side": 7}, "find": {"finder": "pseudo-label", "margin": 0.5, "also": ["other"]}}
    found = RunOptions.parse(own | {"also": {"slant": {}, "my bangs": {"marks": "b.csv", "find": {"margin": 1.0}}}})
    assert found.also["slant"].mark.per_side == found.also["my bangs"].mark.per_side == 7
    assert [(o.find.finder, o.find.margin, o.find.also) for o in found.also.values()] == [
        ("pseudo-label", 0.5, ()),
        ("pseudo-label", 1.0, ()),
    ]
    assert RunOptions.parse(found.model_dump()) == found
    for wrong in ({"../slant": {}}, {"slant": 3}, {"slant": {"mark": 3}}, 3):
        with pytest.raises(BadOption, match="also"):
            RunOptions.parse({"also": wrong, **own})


@pytest.mark.parametrize(
    ("told", "got", "beside", "near"),
    [
        ({"unlern": {}}, "unlern", "unlearn, weights", "unlearn"),
        ({"step": 3}, "step", "sample, unlearn, weights", "unlearn.steps"),
        ({"unlearn": {"stepps": 3}}, "unlearn.stepps", "steps, tolerance", "unlearn.steps"),
        ({"unlearn": {"trials": 3}}, "unlearn.trials", "steps, tolerance", "find.trials"),
        ({"attack": {"restart": 3}}, "attack.restart", "restarts, samples", "attack.restarts"),
        ({"also": {"thin": {"mark": {"per_sid": 3}}}}, "also.thin.mark.per_sid", "per_side", "also.thin.mark.per_side"),
        ({"also": {"thin": {"find": {"steps": 3}}}}, "also.thin.find.steps", "trials, vector", "unlearn.steps"),
    ],
)
def test_an_unknown_option_is_told_with_those_of_its_table(
    told: dict[str, Any], got: str, beside: str, near: str
) -> None:
    with pytest.raises(UnknownName) as error:
        RunOptions.parse(told)
    known = str(error.value).partition("expected one of ")[2].partition(". ")[0]
    assert f'unknown option "{got}"; ' in str(error.value) and str(error.value).endswith(f'Did you mean "{near}"?')
    assert beside in known and "." not in known


def test_a_file_of_options_may_name_a_preset(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text("preset = 'auto'\n[unlearn]\nsteps = 7\n")
    options, auto = read_options(file), read_options(base="auto")
    assert options.find == auto.find and options.unlearn.steps == 7
    assert options.unlearn == auto.unlearn.model_copy(update={"steps": 7})
    assert options.unlearn.model_fields_set == {"steps"} and options.find.model_fields_set == set()
    assert read_options(file, "paper").find == read_options(base="paper").find
    file.write_text("preset = 3\n")
    with pytest.raises(BadOption, match="preset is 3; expected one of auto, "):
        read_options(file)


@pytest.mark.parametrize(("told", "verb"), [({"unlearn": {"steps": "x"}}, "unlearn"), ({"feature": 3}, "run")])
def test_a_wrong_value_names_the_command_that_explains_it(told: dict[str, Any], verb: str) -> None:
    with pytest.raises(BadOption, match=f"Names and ranges:  unfeature {verb} --help"):
        RunOptions.parse(told)


def test_an_unknown_option_comes_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r'unknown option "learning_rat"; .* Did you mean "learning_rate"?'):
        UnlearnOptions.parse({"learning_rat": 1})
    with pytest.raises(UnknownName, match=r'unknown option "unlearn.aplha"; .* Did you mean "unlearn.alpha"?'):
        RunOptions.parse({"unlearn": {"aplha": 1}})


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(BadOption) as raised:
        RunOptions.parse({"unlearn": {"steps": 0, "alpha": -1}, "find": {"vector": "long"}, "evaluate": {"count": "x"}})
    for told in (
        "option unlearn.steps is 0: input should be greater than or equal to 1",
        "option unlearn.alpha is -1.0",
        "option find.vector is 'long'",
        "option evaluate.count is 'x'",
    ):
        assert told.replace("-1.0", "-1") in str(raised.value).replace("-1.0", "-1")


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (FindOptions, {"margin": float("nan")}),
        (FindOptions, {"threshold": float("inf")}),
        (FindOptions, {"threshold": "polled"}),
        (UnlearnOptions, {"learning_rate": 0}),
        (UnlearnOptions, {"tolerance": float("nan")}),
    ],
)
def test_values_outside_the_range_are_refused(model: type[Options], values: dict[str, object]) -> None:
    with pytest.raises(BadOption, match=f"option {next(iter(values))}"):
        model.parse(values)


def test_options_are_frozen() -> None:
    with pytest.raises(ValueError, match=r"frozen"):
        FindOptions().margin = 1.0  # type: ignore[misc]
