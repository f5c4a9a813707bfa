"""Attacks find what can be found and nothing else; the command refuses what would be no proof."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, contents

from unfeature import workflow
from unfeature.artifacts import AttackResult, Attacks, Curve, Point, Score
from unfeature.attacks import ATTACKS
from unfeature.attacks.interpolation import between
from unfeature.attacks.places import inner_places
from unfeature.attacks.pruning import pruned
from unfeature.attacks.quantisation import quantised, rounded
from unfeature.attacks.scenes import gap
from unfeature.attacks.searching import climb, latents_of
from unfeature.attacks.typical import Typical
from unfeature.drawing import frozen
from unfeature.errors import NotApplicable
from unfeature.generators import GENERATORS
from unfeature.generators.loading import checkpoint_bytes, load_generator
from unfeature.generators.module import from_module, weights_hash
from unfeature.images import data_uri, pixels_of
from unfeature.options import AttackOptions
from unfeature.protocols import Generator
from unfeature.reports.attacks import attack_section
from unfeature.reports.withstood import brought_back
from unfeature.seeds import normal_rows, stream
from unfeature.tables import resolve
from unfeature.testing import TinyGenerator, TinyJudge, tiny_copy, tiny_scene

QUICK: dict[str, Any] = {"restarts": 6, "search_steps": 4}
FLAGS = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", str(value))]
SEARCH = ["--attack", "latent-search", *FLAGS]


def attacked(name: str, target: Generator, called: str = "unlearned", **options: Any) -> AttackResult:
    made = resolve("attack", ATTACKS, name)(AttackOptions(**options), seed=0)
    result: AttackResult = made.run(tiny_scene(target, called))
    return result


def figure(result: AttackResult, name: str) -> Score:
    return next(score for score in result.figures if score.name == name)


# What is usual


def test_the_shell_holds_98_of_100_samples_and_projection_ends_in_it() -> None:
    rows = 3.0 + 2.0 * torch.from_numpy(normal_rows(stream("test", 0, 0, 4000), 5))
    typical = Typical.of(rows)
    inside = typical.projected(typical.scale(rows))
    moved = (inside - typical.scale(rows)).abs().amax(dim=1) > 1e-4
    assert moved.double().mean() == pytest.approx(0.02, abs=0.005)
    assert torch.linalg.vector_norm(typical.projected(100 * inside), dim=1).max() <= typical.high * 1.0001
    assert torch.linalg.vector_norm(typical.projected(inside / 100), dim=1).min() >= typical.low * 0.9999
    assert typical.percentiles(rows).mean() == pytest.approx(50, abs=1)


def test_a_picture_comes_back_out_of_its_uri() -> None:
    for shape in ((5, 4), (5, 4, 3)):
        pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        assert np.array_equal(pixels_of(data_uri(pixels)), pixels)


# Latent search


def test_latent_search_finds_what_the_original_can_make() -> None:
    result = attacked("latent-search", TinyGenerator(), "original", restarts=40, search_steps=50)
    assert figure(result, "success").value >= 0.9
    assert result.facts["shows"]
    search = result.curves[0].points
    assert [point.x for point in search] == [0, 1, 2, 5, 10, 20, 50]
    assert search[0].score.value < 0.3 < search[-1].score.value
    assert 1 <= figure(result, "norm_percentile").value <= 99.5


def test_latent_search_finds_nothing_where_nothing_is() -> None:
    result = attacked("latent-search", tiny_copy(), restarts=40, search_steps=50)
    assert figure(result, "success").value <= 0.05
    assert figure(result, "success_random").value <= 0.05
    assert not result.facts["shows"]
    assert [score.name for score in result.figures] == ["success", "success_random"]


def test_a_search_depends_on_no_other() -> None:
    scene = tiny_scene(TinyGenerator(), "original")
    place = latents_of(frozen(scene.target))
    typical = Typical.of(place.starts(stream("test", 0, 0, 500)))
    start = place.starts(stream("test", 1, 0, 7))
    whole, alone = (
        climb(lambda z, _: scene.guide(place.synthesize(z)), start, typical, at=[5], rate=0.1, rows=rows)[0]
        for rows in (7, 2)
    )
    assert torch.allclose(whole, alone, atol=1e-5)


# Inner search


def tiny_copy_blind_in_front() -> TinyGenerator:
    """A copy whose first layer does not pass on what makes the blob large; the rest is the original's."""
    copied = TinyGenerator()
    inner = copied.module.get_submodule("inner")
    with torch.no_grad():
        inner.weight[0] = 0.0
    return copied


def test_inner_search_undoes_what_only_the_first_layer_unlearned() -> None:
    options = {"restarts": 20, "search_steps": 100}
    assert figure(attacked("latent-search", tiny_copy_blind_in_front(), **options), "success").value <= 0.05
    assert figure(attacked("inner-search", tiny_copy_blind_in_front(), **options), "success: inner").value >= 0.9
    nothing = tiny_copy()
    with torch.no_grad():
        nothing.module.get_submodule("outer").weight.zero_()
    assert figure(attacked("inner-search", nothing, **options), "success: inner").value <= 0.05


def test_inner_search_tells_first_of_the_place_that_got_furthest(monkeypatch: pytest.MonkeyPatch) -> None:
    places = lambda generator: [latents_of(generator), *inner_places(generator)]  # noqa: E731
    monkeypatch.setattr("unfeature.attacks.inner_search.inner_places", places)
    result = attacked("inner-search", tiny_copy_blind_in_front(), restarts=20, search_steps=100)
    assert [score.name for score in result.figures] == ["success: inner", "success: latents"]
    assert result.figures[0].value >= 0.9 and result.figures[1].value <= 0.05


def test_hooks_are_taken_off_again() -> None:
    target = frozen(TinyGenerator())
    (place,) = inner_places(target)
    seeds = stream("test", 0, 0, 5)
    rows = place.starts(seeds)
    assert rows.shape == (5, 64)
    assert torch.equal(place.synthesize(rows), target.synthesize(target.sample_latents(seeds)))
    with pytest.raises(RuntimeError):
        place.synthesize(rows[:, :7])
    assert not any(module._forward_hooks for module in target.module.modules())


def test_a_stylegan_is_searched_in_w_and_w_plus() -> None:
    generator = frozen(load_generator("mnist-stylegan2"))
    places = inner_places(generator)
    assert [place.name for place in places] == ["w", "w+"]
    seeds = stream("test", 0, 0, 3)
    wanted = generator.synthesize(generator.sample_latents(seeds))
    for place in places:
        assert torch.allclose(place.synthesize(place.starts(seeds)), wanted, atol=1e-5)
    assert places[1].starts(seeds).shape[1] > places[0].starts(seeds).shape[1]
    inside = load_generator("mnist-stylegan2", arguments={"space": "w+"})
    assert [place.name for place in inner_places(frozen(inside))] not in (["w", "w+"], [])


@pytest.mark.parametrize("name", GENERATORS)
def test_every_family_can_be_searched_inside(name: str) -> None:
    family = resolve("generator family", GENERATORS, name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = family(**family.example())
    generator = frozen(from_module(name, module, module.latent_dim))
    places = inner_places(generator)
    assert places
    seeds = stream("test", 0, 0, 3)
    for place in places:
        rows = place.starts(seeds)
        images = place.synthesize(rows.clone().requires_grad_())
        assert images.shape == (3, *generator.spec.image_shape)
        assert images.requires_grad, place.name


# Inversion and the encoder's path


def test_inversion_recovers_what_can_be_made_and_misses_what_cannot() -> None:
    options = {"pictures": 12, "inversion_steps": 80}
    original, copied = (attacked("inversion", target, **options) for target in (TinyGenerator(), tiny_copy()))
    assert figure(original, "recovered").value >= 0.8
    assert figure(copied, "recovered").value <= 0.1
    assert abs(figure(original, "gap").value) < 0.02 < figure(copied, "gap").low
    assert figure(copied, "distance_with").value > figure(copied, "distance_without").value


def test_the_encoders_path_needs_an_encoder_and_stops_at_an_unlearned_decoder() -> None:
    assert figure(attacked("encoder-path", TinyGenerator(), pictures=12), "recovered").value >= 0.5
    assert figure(attacked("encoder-path", tiny_copy(), pictures=12), "recovered").value <= 0.05
    scene = replace(tiny_scene(TinyGenerator(), "original"), encoder=None)
    with pytest.raises(NotApplicable, match="--encoder"):
        resolve("attack", ATTACKS, "encoder-path")(AttackOptions(), seed=0).run(scene)


def test_pictures_that_nobody_finds_are_no_pictures() -> None:
    scene = replace(tiny_scene(TinyGenerator(), "original"), judge=TinyJudge(cut=0.99))
    with pytest.raises(NotApplicable, match="none of 50 pictures of the original shows the feature"):
        resolve("attack", ATTACKS, "relearning")(AttackOptions(relearn_from=(1,), samples=20), seed=0).run(scene)


# Training


TRAINING = {"relearn_from": (1, 16), "tuning_steps": 50, "samples": 400, "inversion_steps": 40, "benign": 16}


def test_relearning_counts_steps_to_half() -> None:
    original, copied = (attacked("relearning", target, **TRAINING) for target in (TinyGenerator(), tiny_copy()))
    assert original.facts["steps_to_half"] == {"1": 0, "16": 0}
    steps = copied.facts["steps_to_half"]["16"]
    curves = {curve.name: curve.points for curve in copied.curves}
    assert set(curves) == {"from 1", "from 16"}
    assert curves["from 16"][0].score.value == 0
    assert 0 < steps <= 50
    shares = {point.x: point.score.value for point in curves["from 16"]}
    assert shares[steps] >= copied.facts["half"] > max(share for step, share in shares.items() if step < steps)
    assert copied.figures[0] == replace(curves["from 16"][-1].score, name="relearnt: from 16")


def test_relearning_that_never_gets_there_says_so() -> None:
    copied = attacked("relearning", tiny_copy(), **{**TRAINING, "tuning_steps": 1, "tuning_rate": 1e-6})
    assert copied.facts["steps_to_half"] == {"1": None, "16": None}


def test_benign_fine_tuning_does_not_bring_back_what_the_pictures_lack() -> None:
    copied = attacked("fine-tuning", tiny_copy(), **TRAINING)
    assert copied.curves[0].points[0].score.value == 0
    assert figure(copied, "resurged").value <= 0.02


# Weights


def test_interpolation_ends_at_original_and_target() -> None:
    original, target = TinyGenerator(), tiny_copy()
    assert weights_hash(between(original, target, 0.0).module) == original.spec.weights
    assert weights_hash(between(original, target, 1.0).module) == target.spec.weights
    name = "outer.weight"
    ends = (generator.module.state_dict()[name] for generator in (original, target))
    middle = between(original, target, 0.5).module.state_dict()[name]
    assert torch.allclose(middle, sum(ends) / 2)
    result = attacked("interpolation", target, factors=(0.0, 0.5, 1.0), samples=300)
    by_factor = {point.x: point.score.value for point in result.curves[0].points}
    untouched = figure(
        attacked("interpolation", original, "original", factors=(1.0,), samples=300), "interpolated: factor 1"
    )
    assert by_factor[0.0] == untouched.value > by_factor[0.5] >= by_factor[1.0] == 0
    assert result.figures[0].name == "interpolated: factor 1"


def test_pruning_takes_the_smallest_weights_and_no_biases() -> None:
    generator = TinyGenerator()
    before, after = (g.module.state_dict() for g in (generator, pruned(generator, 0.3)))
    weights = before["inner.weight"].abs()
    gone = (after["inner.weight"] == 0) & (weights > 0)
    assert float((after["inner.weight"] == 0).double().mean()) == pytest.approx(0.3, abs=0.01)
    assert weights[gone].max() <= weights[after["inner.weight"] != 0].min()
    assert torch.equal(after["inner.weight"][~gone], before["inner.weight"][~gone])
    assert torch.equal(after["inner.bias"], before["inner.bias"])


def test_quantisation_moves_no_weight_by_more_than_half_a_step() -> None:
    generator = TinyGenerator()
    before, after = (g.module.state_dict() for g in (generator, quantised(generator)))
    for name in ("inner.weight", "outer.weight"):
        step = before[name].abs().max() / 127
        assert (after[name] - before[name]).abs().max() <= step * 0.5001
        assert len(after[name].unique()) <= 255
        assert not torch.equal(after[name], before[name])
    assert torch.equal(after["outer.bias"], before["outer.bias"])
    assert torch.equal(rounded("", torch.zeros(3)), torch.zeros(3))


# What the report says


def relearnt(called: str, steps: dict[str, int | None]) -> AttackResult:
    shares = (Score.share("relearnt: from 8", 80, 1000, higher_is_better=False),)
    curve = Curve("from 8", "steps", (Point(0.0, shares[0]), Point(5.0, shares[0])))
    facts = {"steps_to_half": steps, "steps": 200}
    return AttackResult("relearning", called, f"tiny@{called}", shares, (curve,), facts, "data:,")


def _shares(name: str, **targets: float) -> list[AttackResult]:
    curve = Curve("any", "steps", ())
    return [
        AttackResult(name, called, called, (Score.share("any", round(100 * share), 100),), (curve,), {}, "data:,")
        for called, share in targets.items()
    ]


def test_distances_are_never_below_zero_and_one_picture_has_no_interval() -> None:
    scores = {score.name: score for score in gap(torch.tensor([0.01, 0.001]), torch.tensor([0.002, 0.011]))}
    assert scores["distance_with"].low == scores["distance_without"].low == 0.0 > scores["gap"].low
    result = AttackResult(
        "inversion", "unlearned", "", tuple(gap(torch.tensor([0.01]), torch.tensor([0.02]))), (), {}, ""
    )
    section = attack_section(Attacks({"guide": "any"}, (result,), {}))
    assert section is not None
    (group,) = section.table.groups
    cells = [cell for _, cells in group.lines for cell in cells]
    assert {cell.interval for cell in cells if cell is not None} == {"no interval: one picture"}


def searched_inside(called: str, **places: float) -> AttackResult:
    figures = tuple(Score.share(f"success: {place}", round(100 * share), 100) for place, share in places.items())
    return AttackResult("inner-search", called, called, figures, (), {}, "data:,")


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([searched_inside("unlearned", w=0.01, plus=0.9)], "inner maps (plus) finds it from 90.0 % of its starts."),
        ([searched_inside(t, w=0.3, plus=0.9) for t in ("unlearned", "control")], ""),
        (
            [searched_inside("unlearned", plus=0.9, w=0.3), searched_inside("control", plus=0.9, w=0.1)],
            "inner maps (w) finds it from 30.0 % of its starts.",
        ),
        (_shares("latent-search", original=0.97, unlearned=0.67), "finds it from 67.0 % of its starts."),
        (_shares("latent-search", original=0.97, unlearned=0.05), ""),
        (_shares("latent-search", original=0.97, unlearned=0.2, control=0.16), ""),
        (_shares("encoder-path", original=0.9, unlearned=0.9, control=0.1), "90.0 % of reconstructions"),
        (_shares("interpolation", original=0.1, unlearned=0.1), ""),
        ([relearnt("unlearned", {"1": 1, "8": 20}), relearnt("control", {"1": 50, "8": 50})], "20 steps on 8 pictures"),
        ([relearnt("unlearned", {"1": 1, "8": 25}), relearnt("control", {"1": 50, "8": 50})], ""),
        ([relearnt("unlearned", {"8": 25}), relearnt("control", {"8": None})], "needs more than 200."),
        ([relearnt("unlearned", {"8": None}), relearnt("control", {"8": 50})], ""),
        ([relearnt("unlearned", {"1": 1}), relearnt("control", {"1": 50})], ""),
        ([relearnt("unlearned", {"8": 1})], ""),
        ([relearnt("unlearned", {"8": 0}), relearnt("control", {"8": 50})], ""),
        (_shares("pruning", original=0.1, unlearned=0.09), "pruning brings it to 9.0 %."),
        (_shares("pruning", original=0.1, unlearned=0.05), ""),
        ([relearnt("unlearned", {"8": 1}), relearnt("control", {"7": 50})], ""),
    ],
)
def test_the_verdict_says_what_attacks_bring_back(results: list[AttackResult], words: str) -> None:
    shares = Score.share("target_ratio", 1000, 10_000), Score.share("target_ratio", 20, 10_000)
    told = brought_back(Attacks({"guide": "any"}, tuple(results), {}), *shares)
    assert (words in told and told.startswith("Somebody who has the weights")) if words else told == ""
    assert brought_back(None, *shares) == ""


def test_what_the_copy_shows_anyway_was_not_brought_back_and_half_of_a_rare_feature_was() -> None:
    def told(before: int, after: int, brought: float) -> str:
        shares = (Score.share("target_ratio", hits, 10_000) for hits in (before, after))
        return brought_back(Attacks({}, tuple(_shares("quantisation", unlearned=brought)), {}), *shares)

    assert told(3000, 2300, 0.22) == told(3000, 2300, 0.26) == "", "it is there as it is"
    assert "rounding to 8 bits brings it to 40.0 %" in told(3000, 2300, 0.40)
    assert "rounding to 8 bits brings it to 4.0 %" in told(400, 1, 0.04)
    assert told(400, 1, 0.01) == ""


def test_relearning_is_compared_with_the_control() -> None:
    results = tuple(
        relearnt(called, steps)
        for called, steps in {
            "original": {"1": 0, "8": 0, "64": 0},
            "unlearned": {"64": 5, "1": None, "8": 20},
            "control": {"1": None, "8": 50, "64": 50},
        }.items()
    )
    section = attack_section(Attacks({"guide": "a probe of the marks"}, results, {"encoder-path": "none was given."}))
    assert section is not None
    assert section.columns == ("Original", "Unlearned", "Never had it")
    last = " ".join(section.parts[0].sentences)
    told = "to half of the original's share: the unlearned copy"
    assert f"Relearning from 8 pictures {told} needed 20 steps, the control that never had it needed 50 steps." in last
    assert f"Relearning from 1 picture {told} was not there after 200 steps" in last
    assert last.index("from 1 picture") < last.index("from 8 pictures") < last.index("from 64 pictures")
    assert section.main[0][1][0] is not None
    assert section.main[0][1][0].interval == "6.5 to 9.8 %"
    assert section.left_out == (("The encoder's path", "none was given."),)
    assert attack_section(None) is None


def test_each_targets_furthest_place_is_told() -> None:
    results = (searched_inside("original", w=0.9, plus=0.8), searched_inside("unlearned", plus=0.7, w=0.1))
    section = attack_section(Attacks({"guide": "a probe of the marks"}, results, {}))
    assert section is not None
    assert [cell.value for cell in section.main[0][1] if cell is not None] == ["90.0 %", "70.0 %"]
    told = "with the feature: 90.0 % in the original (w), 70.0 % in the unlearned copy (plus)."
    assert section.parts[0].sentences[-1].endswith(told)


def test_an_attack_the_report_does_not_know_keeps_its_own_words() -> None:
    score = Score.share("found: somewhere", 1, 10, note="share of whatever")
    result = AttackResult("new-attack", "unlearned", "tiny@0", (score,), (), {}, "data:,")
    section = attack_section(Attacks({"guide": "nobody"}, (result,), {}))
    assert section is not None
    assert section.parts[0].title == "new-attack"
    assert section.table.groups[0].lines[0][0].title == "found: somewhere"


# The command


def test_attacks_are_written_and_go_into_the_report(tiny_run: Path, command: Command) -> None:
    said = command("attack", tiny_run, *SEARCH)
    assert said.code == 0, said.err
    assert f"unfeature report {tiny_run}" in said.out
    found = json.loads((tiny_run / "attacks.json").read_text())
    assert [result["target"] for result in found["results"]] == ["original", "unlearned"]
    assert (tiny_run / "attacks.png").read_bytes().startswith(b"\x89PNG")
    assert command("report", tiny_run).code == 0
    page = (tiny_run / "report.html").read_text()
    assert "Search for a latent" in page
    assert found["results"][0]["picture"] in page
    assert "This report does not measure that" not in page
    assert "Searches that ended in a picture with the feature" in (tiny_run / "report.md").read_text()


@pytest.mark.parametrize(
    "other", [{"unlearned": "mnist-vae@other"}, {"feature": "another's"}, {"judge": {"name": "slant", "cut": 99}}]
)
def test_a_report_leaves_out_attacks_on_another_copy_or_by_another_judge(
    tiny_run: Path, other: dict[str, object]
) -> None:
    workflow.attack(tiny_run, AttackOptions(attack=("quantisation",), pictures=20))
    workflow.report(tiny_run)
    assert "they were made on another copy" not in (tiny_run / "report.html").read_text()
    found = json.loads((tiny_run / "attacks.json").read_text())
    found["made_from"] |= other
    (tiny_run / "attacks.json").write_text(json.dumps(found))
    workflow.report(tiny_run)
    assert json.loads((tiny_run / "report.json").read_text())["attacks"] is None
    assert (
        "they were made on another copy, for another feature or by another judge"
        in (tiny_run / "report.html").read_text()
    )


class Killed(Exception):
    """Stands for a process that dies."""


def test_a_killed_attack_goes_on_to_the_same_bytes(tiny_run: Path, tmp_path: Path) -> None:
    options = AttackOptions(attack=("latent-search",), **QUICK)
    straight = Path(shutil.copytree(tiny_run, tmp_path / "straight"))
    workflow.attack(straight, options)

    def kill(done: int, total: int) -> None:
        if done == 1:
            raise Killed

    with pytest.raises(Killed):
        workflow.attack(tiny_run, options, kill)
    assert len(json.loads((tiny_run / "attacks.json").read_text())["results"]) == 1
    workflow.attack(tiny_run, options)
    assert contents(tiny_run) == contents(straight)
    before = contents(tiny_run)
    workflow.attack(tiny_run, options)
    assert contents(tiny_run) == before
    other, notes = AttackOptions(attack=("latent-search",), **{**QUICK, "search_steps": 3}), list[str]()
    workflow.attack(tiny_run, other, on_note=notes.append)
    kept = tiny_run / "history" / "attacks-1.json"
    assert kept.read_bytes() == before["attacks.json"]
    assert notes == [f"earlier results, of other options, another feature or copy, are in {kept}"]


def test_an_unknown_attack_names_the_nearest(tiny_run: Path, command: Command) -> None:
    said = command("attack", tiny_run, "--attack", "latent-serach")
    assert said.code == 2
    assert 'unknown attack "latent-serach"' in said.err
    assert 'Did you mean "latent-search"?' in said.err


@pytest.mark.parametrize("wrong", [["--relearn-from", "0"], ["--pruned", "1"], ["--restarts", "1"]])
def test_options_outside_their_range_are_told(wrong: list[str], tiny_run: Path, command: Command) -> None:
    said = command("attack", tiny_run, *wrong)
    assert said.code == 2
    assert wrong[0].strip("-").replace("-", "_") in said.err.replace("-", "_")


JUDGE = """
class Bright:
    about = {"name": "bright"}

    def score(self, images):
        return (100 * (images.mean(dim=(1, 2, 3)) - 0.14)).sigmoid()

bright = Bright()
"""


def test_whoever_judges_does_not_guide(tiny_run: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "own.py").write_text(JUDGE)
    reference = f"{tmp_path}/own.py:bright"
    assert command("mark", tiny_run, "bright", "--by", "slant", "--per-side", "30", "--judge", reference).code == 0
    for verb, more in (("find", ["--margin", "0.25"]), ("preview", ["--count", "100"]), ("unlearn", ["--steps", "10"])):
        assert command(verb, tiny_run, *more).code == 0
    detour = f"{tmp_path}/../{tmp_path.name}/own.py:bright"
    for guide in (reference, detour):
        said = command("attack", tiny_run, *SEARCH, "--guide", guide)
        assert said.code == 2
        assert "whatever guides is never what judges" in said.err
    assert command("attack", tiny_run, *SEARCH).code == 0
    found = json.loads((tiny_run / "attacks.json").read_text())
    assert found["made_from"]["guide"] == "a probe of the marks"


NETWORK = """
import torch

class Net:
    about = {"name": "net"}

    def __init__(self, seed):
        self.weights = torch.randn(784, generator=torch.Generator().manual_seed(seed)) / 28

    def score(self, images):
        return (images.flatten(1) @ self.weights).sigmoid()

judge, apart = Net(0), Net(1)
"""


def test_a_judge_under_another_name_does_not_guide(tiny_run: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "attacked_by.py").write_text(NETWORK)
    (tmp_path / "other.py").write_text("from attacked_by import judge as renamed\n")
    (tmp_path / "digits.py").write_text(
        "from unfeature.metrics.digits import load_digit_extractor as load\nnet = load()\n"
        "def ones(images):\n    return net.logits(images).softmax(dim=1)[:, 1]\n"
    )
    judged = ("mark", tiny_run, "slanted strokes", "--by", "slant", "--per-side", "30", "--judge")
    assert command(*judged, f"{tmp_path}/attacked_by.py:judge").code == 0
    said = command("attack", tiny_run, *SEARCH, "--guide", f"{tmp_path}/other.py:renamed")
    assert said.code == 2 and "has the same weights as" in said.err and "guide the attacks too (--guide)" in said.err
    assert command("attack", tiny_run, *SEARCH, "--guide", f"{tmp_path}/attacked_by.py:apart").code == 0
    assert command(*judged, f"{tmp_path}/digits.py:ones").code == 0
    said = command("attack", tiny_run, *SEARCH)
    assert said.code == 2 and "guide the attacks too (the probe's network)" in said.err
    assert command("attack", tiny_run, *SEARCH, "--extractor", "").code == 0


ENCODER = """
import torch

def encode(images):
    return torch.zeros(len(images), 12)

def wrong(images):
    return images
"""


def test_an_attack_that_does_not_apply_is_left_out_unless_it_was_asked_for(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "own.py").write_text(ENCODER)
    few = ["--samples", "20", "--pictures", "2", *FLAGS]
    for name in ("latent-search", "encoder-path"):
        said = command("attack", tiny_run, "--attack", name, *few)
        assert (said.code, "--encoder FILE.py:FUNCTION" in said.err) == ((0, False), (2, True))[name == "encoder-path"]
    said = command("attack", tiny_run, "--attack", "encoder-path", *few, "--encoder", f"{tmp_path}/own.py:wrong")
    assert said.code == 2
    assert "returns latents (n, 12)" in said.err
    said = command("attack", tiny_run, "--attack", "encoder-path", *few, "--encoder", f"{tmp_path}/own.py:encode")
    assert said.code == 0, said.err
    found = json.loads((tiny_run / "attacks.json").read_text())
    assert [(result["name"], result["target"]) for result in found["results"]] == [
        ("encoder-path", "original"),
        ("encoder-path", "unlearned"),
    ]


def test_a_guided_feature_guides_the_attacks(tiny_run: Path, command: Command) -> None:
    search = ["--finder", "counterfactual", "--samples", "600", "--search-steps", "20"]
    for verb, more in (("find", search), ("preview", ["--count", "100"]), ("unlearn", ["--steps", "10"])):
        assert command(verb, tiny_run, *more).code == 0
    assert command("attack", tiny_run, *SEARCH).code == 0
    found = json.loads((tiny_run / "attacks.json").read_text())
    assert found["made_from"]["guide"] == "the feature's own guide"


def test_a_control_is_another_generator_of_the_same_architecture(tiny_run: Path, command: Command) -> None:
    said = command("attack", tiny_run, *SEARCH, "--control", "missing.safetensors")
    assert said.code == 2
    said = command("attack", tiny_run, *SEARCH, "--control", tiny_run / "unlearned.safetensors")
    assert said.code == 0, said.err
    found = json.loads((tiny_run / "attacks.json").read_text())
    assert [result["target"] for result in found["results"]] == ["original", "unlearned", "control"]
    assert command("attack", tiny_run, *SEARCH).code == 0
    assert (tiny_run / "attacks.json").read_text() == json.dumps(found, indent=1, sort_keys=True) + "\n"
    original, unlearned, control = (AttackResult.from_json(result) for result in found["results"])
    assert replace(control, target="unlearned") == unlearned
    assert original.generator != unlearned.generator

    student, notes = load_generator("mnist-vae"), list[str]()
    with torch.no_grad():
        next(student.module.parameters()).mul_(0.9)
    other = tiny_run.parent / "other.safetensors"
    other.write_bytes(checkpoint_bytes(student, {}))
    before = (tiny_run / "attacks.json").read_bytes()
    options = AttackOptions(attack=("latent-search",), control=str(other), **QUICK)
    workflow.attack(tiny_run, options, on_note=notes.append)
    kept = tiny_run / "history" / "attacks-1.json"
    assert kept.read_bytes() == before and notes == [f"results of the control before are in {kept}"]
