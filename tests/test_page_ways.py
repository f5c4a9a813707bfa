"""The ways in which the page finds a feature: what is refused, what reaches the verbs, how a stopped one goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Page, serving, trained, wait

from unfeature import options as o
from unfeature import workflow
from unfeature.errors import BadOption
from unfeature.store import Run
from unfeature.web.jobs import Jobs
from unfeature.web.ways import WAYS, asked_for, base, find_options, unlearn_options, went

SIDES = [(i, "shows" if i % 5 == 0 else "without") for i in range(40)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A served folder: "slant" and "thick" of one generator are marked, "unmarked" is not, "gan" is of another."""
    runs = tmp_path_factory.mktemp("ways") / "runs"
    for name in ("slant", "thick"):
        workflow.sample(runs / name, "mnist-vae", o.SampleOptions(count=600))
        measured = {"slant": "slant", "thick": "thickness"}[name]
        workflow.mark(runs / name, name, measured, o.MarkOptions(per_side=40))
        workflow.request(runs / name, name, "")
    with serving(runs) as served:
        for name, generator in (("unmarked", "mnist-vae"), ("gan", "mnist-gan")):
            served.post("/api/runs", {"generator": generator, "feature": name, "name": name})
        served.mark("gan", SIDES)
        yield served


def test_it_is_told_which_ways_there_are_and_what_may_be_kept(page: Page) -> None:
    told = page.get("/api/runs/slant/ways")
    assert told["steps"] == {"linear": 1000, "counterfactual": 4000, "auto": 1000} and told["chosen"] is None
    assert told["others"] == [{"name": "thick", "feature": "thick", "shows": 40, "unsure": 0, "without": 40}]
    assert page.get("/api/runs/gan/ways")["others"] == []


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"way": "sideways"}, "'counterfactual' or 'auto'"),
        ({"way": ["auto"]}, "way"),
        ({"way": "linear"}, "without a threshold"),
        ({"way": "linear", "threshold": 0.1, "keep": ["thick"]}, "expected it for another way"),
        ({"way": "auto", "threshold": 0.1}, "expected neither"),
        ({"way": "counterfactual", "margin": 0.1}, "expected neither"),
        ({"way": "auto", "keep": ["none"]}, 'names "none"; expected runs of the same generator'),
        ({"way": "auto", "keep": ["thick", "slant"]}, 'names "slant"'),
        ({"way": "auto", "keep": ["unmarked"]}, 'names "unmarked"'),
        ({"way": "auto", "keep": ["gan"]}, 'names "gan"'),
        ({"way": "auto", "keep": ["../runs/thick"]}, "Tick one of those"),
        ({"way": "auto", "keep": ["thick/feedback.json"]}, "Tick one of those"),
        ({"way": "auto", "keep": "thick"}, "keep"),
        ({"way": "auto", "keep": ["x" * 65]}, "keep"),
        ({"way": "auto", "steps": 0}, "steps"),
    ],
)
def test_what_makes_no_sense_is_refused_and_starts_nothing(page: Page, asked: dict[str, Any], words: str) -> None:
    refused = page.client.post("/api/runs/slant/job", json={"action": "start", **asked})
    assert refused.status_code == 422 and set(refused.json()) == {"error", "kind"}
    assert words in refused.json()["error"]
    assert page.get("/api/runs/slant/job")["state"] == "none"


def test_a_way_is_its_preset_with_what_is_kept_and_the_steps(page: Page) -> None:
    folder = page.folder / "slant"
    for way in ("counterfactual", "auto"):
        told = asked_for({"way": way, "keep": ["thick", "thick"]}, ["thick"])
        preset = workflow.read_options(base=way)
        kept = f"thick={page.folder / 'thick' / 'feedback.json'}"
        assert find_options(folder, told) == preset.find.model_copy(update={"keep": (kept,)})
        assert unlearn_options(told) == preset.unlearn
        assert unlearn_options(told | {"steps": 7}) == preset.unlearn.model_copy(update={"steps": 7})
    told = asked_for({"threshold": 0.1, "margin": 0.5}, [])
    assert find_options(folder, told) == o.FindOptions(threshold=0.1, margin=0.5)
    assert unlearn_options(told) == o.UnlearnOptions()


def test_a_probe_of_colour_pictures_has_no_network(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"spec": {"image_shape": [3, 64, 64]}}')
    assert find_options(tmp_path, asked_for({"way": "auto"}, [])).extractor == ""


@pytest.mark.parametrize("way", WAYS)
def test_a_feature_tells_the_way_it_was_found(page: Page, way: Any) -> None:
    folder, strength = page.folder / "slant", {"threshold": 0.1, "margin": 0.5}
    given = {"way": way} | (strength if way == "linear" else {"keep": ["thick"]})
    told = asked_for(given, ["thick"])
    facts = {"kind": "linear", **strength, "options": find_options(folder, told).model_dump(mode="json")}
    told.pop("steps")
    assert went(folder, facts) == told
    other = {"finder": "pseudo-label"} if way == "linear" else {"search_steps": 3}
    assert went(folder, facts | {"options": facts["options"] | other}) == {}, "the page asks for no such thing"
    elsewhere = {"keep": ["thick=elsewhere.json"]}
    assert went(folder, facts | {"options": facts["options"] | elsewhere}) == {}


def test_strengths_are_no_part_of_the_presets() -> None:
    assert base("linear") == o.RunOptions()
    with pytest.raises(BadOption, match="expected neither"):
        asked_for({"way": "auto", "threshold": None}, [])


@pytest.mark.slow
def test_the_choice_reaches_the_feature_and_a_stopped_training_goes_on(page: Page, tmp_path: Path) -> None:
    name = "stopped"
    shutil.copytree(page.folder / "slant", page.folder / name)
    asked, path = {"action": "start", "way": "auto", "keep": ["thick"], "steps": 900}, f"/api/runs/{name}/job"
    page.post(path, asked)
    counted = wait(lambda: (job := page.get(path))["verb"] == "find" and job["steps"] and job)
    assert 0 < counted["step"] <= counted["steps"] and (counted["way"], counted["keep"]) == ("auto", ["thick"])
    wait(lambda: page.get(path)["strip"])
    page.post(path, {"action": "cancel"})
    folder = page.folder / name
    facts = Run(folder).read_facts("feature.safetensors")
    kept = f"thick={page.folder / 'thick' / 'feedback.json'}"
    preset = workflow.read_options(base="auto")
    assert facts["options"] == preset.find.model_copy(update={"keep": (kept,)}).model_dump(mode="json")
    reached = Jobs("train").state(folder)  # as a server that was started anew sees it
    assert reached["state"] == "stopped" and (reached["way"], reached["keep"]) == ("auto", ["thick"])
    assert page.get(f"/api/runs/{name}/ways")["chosen"] == {"way": "auto", "keep": ["thick"]}
    again = {key: reached[key] for key in ("way", "keep")}
    page.post(path, {"action": "start", **again, "steps": reached["steps"]})
    wait(lambda: page.get(path)["strip"] > reached["step"])
    page.post(path, {"action": "cancel"})
    assert not list((folder / "history").glob("training-*")), "it went on and did not begin anew"
    sentences = page.get(f"/api/runs/{name}/found")["sentences"]
    assert any("kept as it is" in told or "direction" in told for told in sentences) and sentences[-1].endswith(".")
    job = trained(page, name, **again, steps=10)
    assert job["state"] == "done", job
    training = Run(folder).read_facts("unlearned.safetensors")["options"]
    assert training == preset.unlearn.model_copy(update={"steps": 10}).model_dump(mode="json")
