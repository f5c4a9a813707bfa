"""The command line: fast to start, every command explains itself, says what it wrote and what comes next."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from test_report import fake_evaluation, fake_preview

from unfeature import __version__, console
from unfeature.artifacts import OTHER, AttackResult, Attacks, Score
from unfeature.cli import COMMANDS, SPINS
from unfeature.options import RunOptions
from unfeature.reports.content import content
from unfeature.workflow import attacking, read_options

KINDS = (
    "generators", "families", "measurements", "finders", "unlearners", "metrics", "extractors", "attacks", "presets",
)  # fmt: skip
UNFEATURE = [sys.executable, "-c", "from unfeature.cli import main; main()"]


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_busy_run_folder_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    script = f"""
import sys
from unfeature.cli import main
try:
    main(["find", {str(tmp_path)!r}])
finally:
    print("torch" in sys.modules)
"""
    with open(tmp_path / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert said.returncode == 2 and "in use by another process" in said.stderr
    assert said.stdout.split() == ["False"]


def test_presets_are_listed_with_whole_sentences(command: Command) -> None:
    said = command("list", "presets").out.splitlines()
    lines = [line for line in said if line.startswith("  ")]
    assert len(lines) > 3 and all(line.endswith(".") for line in lines)
    assert any(line.endswith("half as many steps, each of which takes eight times as long.") for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str, command: Command) -> None:
    said = command(name, "--help")
    assert said.code == 0
    assert "Example" in said.out
    assert f"unfeature {name}" in said.out


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "list"])
def test_the_example_of_a_command_would_be_accepted(name: str) -> None:
    from unfeature.cli import app

    for line in COMMANDS[name].splitlines():
        if "Example" in line:
            words = line.split(":  unfeature ")[1].split(" (")[0].split()
            chosen, bound, *_ = app.parse_args(words, exit_on_error=False, print_error=False)
            assert bound.arguments
            assert chosen.__name__ == f"{name}_"


def test_help_is_instant() -> None:
    """The least of several: whatever else runs on the machine only adds."""
    spent = [float("inf")]
    while min(spent) > 0.3 and len(spent) <= 15:
        before = _children()
        subprocess.run([*UNFEATURE, "--help"], check=True, capture_output=True)
        spent.append(_children() - before)
    assert min(spent) <= 0.3, spent


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_the_front_door_imports_neither_torch_nor_the_options(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom unfeature.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print('LOADED', sorted({'torch', 'pydantic', 'numpy', 'unfeature.options'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("arguments", [["sample", "--help"], ["unlearn", "--help"], ["run", "--help"]])
def test_help_of_a_command_imports_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom unfeature.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\nprint('LOADED', 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "LOADED False"


@pytest.mark.parametrize(
    ("own", "spins"), [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_threads_that_wait_give_way_unless_the_user_says_otherwise(own: dict[str, str], spins: str) -> None:
    code = (
        "import atexit, os; from unfeature.cli import main\n"
        "atexit.register(lambda: print(os.environ.get('GOMP_SPINCOUNT')))\n"
        "main(['--version'])"
    )
    clean = {name: value for name, value in os.environ.items() if name not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    told = subprocess.run([sys.executable, "-c", code], env=clean | own, capture_output=True, text=True, check=True)
    assert told.stdout.split()[-1] == spins


def test_version(command: Command) -> None:
    assert command("--version").out.strip() == __version__


def test_the_list_names_every_kind(command: Command) -> None:
    said = command("list")
    assert said.code == 0
    for kind in KINDS:
        assert f"{kind}:" in said.out
        alone = command("list", kind)
        assert alone.code == 0
        assert alone.out.startswith(f"{kind}:")
        assert len(alone.out.splitlines()) >= 3
    assert "mnist-gan" in said.out
    assert "unfeature demo" in said.out


def test_dry_run_prints_every_option(tmp_path: Path, command: Command) -> None:
    file = tmp_path / "job.toml"
    file.write_text("generator = 'mnist-gan'\n[unlearn]\nsteps = 7\n")
    said = command("run", file, tmp_path / "run", "--preset", "demo", "--dry-run")
    assert said.code == 0
    resolved = json.loads(said.out)
    assert RunOptions.parse(resolved).model_dump(mode="json") == resolved
    assert resolved["generator"] == "mnist-gan"
    assert resolved["unlearn"]["steps"] == 7
    assert resolved["feature"] == "thick strokes"
    assert resolved["find"] == read_options(base="auto").find.model_dump(mode="json"), "the preset it begins with"
    assert not (tmp_path / "run").exists()


def test_flags_go_over_the_preset(tiny_run: Path, command: Command) -> None:
    assert "margin 0.750" in command("find", tiny_run, "--preset", "paper", "--margin", "0.75").out
    assert "margin 0.000" in command("find", tiny_run, "--preset", "paper").out


def test_run_does_everything_and_names_the_report(tiny_run: Path, tmp_path: Path, command: Command) -> None:
    file = tmp_path / "job.toml"
    file.write_text(
        "feature = 'slanted strokes'\nmarks = 'slant'\n[sample]\ncount = 400\n[mark]\nper_side = 30\n"
        "[find]\nmargin = 0.25\n[preview]\ncount = 300\n[unlearn]\nsteps = 40\ncheck_every = 10\n"
        "[evaluate]\ncount = 300\n[attack]\nattack = ['quantisation']\n"
    )
    said = command("run", file, tiny_run)
    assert said.code == 0
    assert "teacher, before any training:" in said.out
    assert "Slanted strokes:" in said.out  # the verdict
    for name in ("report.html", "report.md", "report.json", "attacks.json", "unlearned.safetensors"):
        assert str(tiny_run / name) in said.out
    assert "rounded to 8 bits" in (tiny_run / "report.md").read_text()


@pytest.mark.parametrize("verb", ["evaluate", "attack"])
def test_a_control_that_is_not_there_is_told_before_anything_is_trained(
    verb: str, tmp_path: Path, command: Command
) -> None:
    file = tmp_path / "job.toml"
    file.write_text(
        f"feature = 'slant'\nmarks = 'slant'\n[sample]\ncount = 50\n[{verb}]\ncontrol = 'gone.safetensors'\n"
    )
    said = command("run", file, tmp_path / "run")
    assert said.code == 2 and "gone.safetensors" in said.err
    assert not (tmp_path / "run" / "feedback.json").exists()


def test_an_extractor_that_does_not_fit_is_told_before_anything_is_trained(tmp_path: Path, command: Command) -> None:
    file, code = tmp_path / "job.toml", tmp_path / "mine.py"
    code.write_text("def network():\n    raise ValueError('no weights here')\n")
    file.write_text(
        f"feature = 'slant'\nmarks = 'slant'\n[sample]\ncount = 50\n[evaluate]\nextractor = '{code}:network'\n"
    )
    said = command("run", file, tmp_path / "run")
    assert said.code == 2 and "no weights here" in said.err
    assert not (tmp_path / "run" / "feedback.json").exists()


def test_preview_compares_and_says_how_to_choose(tiny_run: Path, command: Command) -> None:
    said = command("preview", tiny_run, "--count", "50", "--margins", "0", "--margins", "0.5")
    assert said.code == 0
    assert f"unfeature find {tiny_run} --threshold T --margin M" in said.out


@pytest.mark.parametrize(
    ("given", "told"),
    [({}, "unfeature find r --threshold T --margin M"), ({"finder": "auto"}, "--finder auto has chosen its own"),
     ({"finder": "counterfactual", "extractor": "", "margin": 0.1, "keep": ["a=my b.csv", "c=d"]},
      "unfeature find r --finder counterfactual --extractor '' --keep 'a=my b.csv' --keep c=d --threshold")],
)  # fmt: skip
def test_another_strength_is_of_the_same_kind(
    given: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console.previews([fake_preview(), fake_preview()], 0.0042, Path("r"), given)
    assert told in capsys.readouterr().out.replace("\n", " ").replace("  ", " ")


def test_features_together_have_no_strength_that_a_preview_could_try(capsys: pytest.CaptureFixture[str]) -> None:
    both = dataclasses.replace(fake_preview(), threshold=None, margin=None)
    console.previews([both, dataclasses.replace(both, made_by="instant edit")], 0.0042, Path("r"), {})
    console.teacher(Path("r"))(dataclasses.replace(both, ratio=Score.share("target_ratio", 100, 2000)), 0.0042)
    said = " ".join(capsys.readouterr().out.split())
    assert "threshold" not in said and "--margins" not in said
    assert "unfeature find, for each feature, with a larger --margin" in said
    told = content(fake_evaluation(), both, [], {}).sections
    assert "Teacher" not in [section.title for section in told]


def test_tables_are_whole_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    result = fake_evaluation()
    for row in result.rows:
        row.scores[f"{OTHER}slanted strokes"] = Score.share(f"{OTHER}slanted strokes", 250, 10_000)
    console.evaluation(result)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    for figure in ("0.30 %   0.21 to 0.43 %", "2.5 %   2.2 to 2.8 %", "0.65 %   0.5", "3.40   3.26 to 3.54"):
        assert figure in said
    for name in ("Pictures that show slanted strokes", "Untouched pictures that changed digit", "Rejection filter"):
        assert name in said

    wide = dataclasses.replace(fake_preview(), rewritten=Score.share("rewritten", 221, 2000))
    console.previews(
        [wide, dataclasses.replace(wide, made_by="instant edit", threshold=-12.345)], 0.0042, Path("r"), {}
    )
    said = capsys.readouterr().out.split("green:")[0].split("show it.")[1]
    assert max(map(len, said.splitlines())) <= 80
    for figure in ("0.11 to 0.58 %", "9.7 to 12.5 %", "1.0 to 1.2 %", "2.2 to 3.8 %", "-12.345", "threshold -0.130"):
        assert figure in said

    whole = Score.share("success", 255, 256)
    told = [AttackResult("latent-search", one, one, (whole,), (), {}, "data:,") for one in attacking.TARGETS]
    console.attacks(Attacks({}, tuple(told), {}))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert said.count("97.8 to 99.9 %") == 3


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "completion"
    arguments = ["--install-completion", "--shell", shell, "--output", str(script)]
    home = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run([*UNFEATURE, *arguments], check=True, env=home, capture_output=True)
    assert all(name in script.read_text() for name in COMMANDS)


def test_plan_says_how_many_samples(command: Command) -> None:
    said = command("plan", "--ratio", "0.003", "--within", "0.001")
    assert said.code == 0
    assert "0.003 ± 0.001 (95 %) needs 11,795 samples." in said.out
    assert "unfeature evaluate RUN --count 11795" in said.out
    assert "corrected" in command("plan", "--ratio", "0.1", "--within", "0.01", "--true-positive-rate", "0.9").out
    assert "BadOption: ratio 3.0" in command("plan", "--ratio", "3", "--within", "0.001").err
