"""Code runs only where the user has named it on this machine: a run folder cannot bring its own."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command

from unfeature import plugins, workflow
from unfeature.errors import UntrustedCode
from unfeature.options import SampleOptions

CODE = """
from pathlib import Path
import unfeature
from unfeature.testing.tiny import TinyModule
Path({canary!r}).touch()
def load():
    return unfeature.from_module("tiny", TinyModule(), 4)
def bright(images):
    return (images.mean(dim=(1, 2, 3)) > 0.4).float()
"""


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def code(tmp_path: Path, canary: Path) -> Path:
    """A file that leaves a trace when it is run."""
    file = tmp_path / "theirs.py"
    file.write_text(CODE.format(canary=str(canary)))
    return file


@pytest.fixture(autouse=True)
def forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing was ever named, and where it is written down."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(plugins, "_named", set())
    return tmp_path / "state" / "unfeature" / "code.json"


def stranger(folder: Path, /, **changes: dict[str, str]) -> None:
    """Edit the JSON files of a run folder, as somebody else may."""
    for name, parts in changes.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))


VERBS = {
    "mark": ["f", "--by", "slant"],
    "find": [],
    "preview": [],
    "unlearn": ["--steps", "1"],
    "evaluate": ["--count", "100"],
    "report": [],
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_generator_that_a_run_folder_names_is_not_run(
    verb: str, tiny_run: Path, code: Path, canary: Path, command: Command
) -> None:
    stranger(tiny_run, run={"generator": f"{code}:load"})
    said = command(verb, tiny_run, *VERBS[verb])
    assert said.code == 2 and len(said.err.strip().splitlines()) == 1
    assert said.err.strip().startswith("UntrustedCode: ") and str(tiny_run / "run.json") in said.err
    assert said.err.endswith(f"unfeature trust {code}\n")
    assert not canary.exists()


@pytest.mark.parametrize("verb", ["preview", "unlearn", "evaluate", "report"])
def test_a_judge_that_a_run_folder_names_is_not_run(
    verb: str, tiny_run: Path, code: Path, canary: Path, command: Command
) -> None:
    stranger(tiny_run, request={"judge": f"{code}:bright"})
    said = command(verb, tiny_run, *VERBS[verb])
    assert said.code == 2 and not canary.exists()
    if verb != "report":  # there, an evaluation for another request is noticed first
        assert said.err.strip().startswith("UntrustedCode: ") and str(tiny_run / "request.json") in said.err


def test_relative_names_links_and_odd_paths_are_no_way_around(
    tiny_run: Path, code: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tiny_run.parent / "mine.py"
    mine.write_text(CODE.format(canary=str(canary)))
    plugins.name_code(f"{mine}:load")
    (tiny_run / "mine.py").symlink_to(code)
    monkeypatch.chdir(tiny_run)
    for reference in (
        "mine.py:load",
        "../theirs.py:load",
        f"{mine}/../theirs.py:load",
        f"{tiny_run}/mine.py:x.py:load",
    ):
        stranger(tiny_run, run={"generator": reference})
        with pytest.raises(UntrustedCode, match=r"expected code you know"):
            workflow.find(tiny_run)
    assert not canary.exists()


@pytest.mark.slow
def test_what_the_user_has_named_goes_on_in_other_processes(
    tmp_path: Path, code: Path, canary: Path, command: Command, forgetful: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert command("sample", run, "--generator", f"{code}:load", "--count", "40").code == 0
    assert command("mark", run, "bright", "--by", f"{code}:bright", "--per-side", "5").code == 0
    assert json.loads(forgetful.read_text()) == {"files": [str(code)]}
    canary.unlink()
    monkeypatch.setattr(plugins, "_named", set())
    assert command("find", run).code == 0
    assert canary.exists()
    done = subprocess.run(
        [sys.executable, "-m", "unfeature", "find", str(run)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(forgetful.parent)
    assert command("find", run).code == 2


@pytest.mark.parametrize("where", ["judge", "extractor"])
def test_judges_and_extractors_that_are_named_count_too(
    where: str, tiny_run: Path, code: Path, command: Command, forgetful: Path
) -> None:
    line = {
        "judge": ["mark", tiny_run, "f", "--by", "slant", "--judge", f"{code}:bright"],
        "extractor": ["preview", tiny_run, "--extractor", f"{code}:load"],
    }[where]
    command(*line)
    assert json.loads(forgetful.read_text()) == {"files": [str(code)]}


def test_trust_is_one_command_away(
    tiny_run: Path, code: Path, canary: Path, command: Command, forgetful: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger(tiny_run, request={"judge": f"{code}:bright"})
    assert command("preview", tiny_run, "--count", "50").code == 2
    monkeypatch.chdir(code.parent)
    said = command("trust", code.name)
    assert said.code == 0 and str(code) in said.out and str(forgetful) in said.out
    assert not canary.exists()
    assert command("preview", tiny_run, "--count", "50").code == 0
    assert canary.exists()
    for wrong in ("nothing.py", "canary", "."):
        said = command("trust", wrong)
        assert said.code == 2 and "no Python file" in said.err


def test_where_nothing_can_be_written_down_the_process_remembers(
    code: Path, tmp_path: Path, command: Command, forgetful: Path
) -> None:
    (tmp_path / "state").write_text("a file where a folder belongs")
    assert not plugins.name_code(f"{code}:load")
    plugins.require_named(f"{code}:bright", "run.json")
    workflow.sample(tmp_path / "run", f"{code}:load", SampleOptions(count=20))
    assert (tmp_path / "run" / "run.json").exists()
    said = command("trust", code)
    assert said.code == 2 and f"cannot write {forgetful}" in said.err


@pytest.mark.parametrize("content", ["", "{torn", "[1]", '{"files": 3}', '{"files": [3]}', "[" * 100_000, "\xff"])
def test_a_damaged_list_allows_nothing_and_is_mended(content: str, code: Path, forgetful: Path) -> None:
    forgetful.parent.mkdir(parents=True)
    forgetful.write_text(content, encoding="latin-1")
    with pytest.raises(UntrustedCode):
        plugins.require_named(f"{code}:load", "run.json")
    assert plugins.name_code(f"{code}:load")
    assert json.loads(forgetful.read_text()) == {"files": [str(code)]}
    assert stat.S_IMODE(forgetful.stat().st_mode) == 0o600


def test_the_list_lies_where_such_things_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plugins.register() == Path(os.environ["XDG_STATE_HOME"]) / "unfeature" / "code.json"
    for unset in ("", "relative"):  # which the standard says to ignore
        monkeypatch.setenv("XDG_STATE_HOME", unset)
        monkeypatch.setenv("HOME", "/home/somebody")
        assert plugins.register() == Path("/home/somebody/.local/state/unfeature/code.json")


def test_many_processes_lose_no_name(tmp_path: Path, forgetful: Path) -> None:
    code = "import sys\nfrom unfeature import plugins\nfor name in sys.argv[1:]:\n    plugins.name_code(name)\n"
    names = [[str(tmp_path / f"{process}-{i}.py:load") for i in range(20)] for process in range(3)]
    running = [subprocess.Popen([sys.executable, "-c", code, *each]) for each in names]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(json.loads(forgetful.read_text())["files"]) == 60


def test_names_that_are_no_code_need_no_trust(forgetful: Path) -> None:
    for name in ("mnist-vae", "weights.safetensors", "marks.csv", ""):
        plugins.require_named(name, "run.json")
        assert plugins.name_code(name)
    assert not forgetful.exists()
