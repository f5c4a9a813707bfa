"""What the documents say is true: links, the generated reference, README's commands, the examples' headers."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page
    for page in ROOT.rglob("*.md")
    if not {part for part in page.relative_to(ROOT).parts[:-1] if part.startswith(".")}
    and page.relative_to(ROOT).parts[0] in ("docs", "recipes", "benchmarks", "examples", page.name)
)
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)


def run_here(command: list[str], folder: Path, seconds: float = 300) -> str:
    given = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, cwd=folder, env=given, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith(("#", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        aim = page.parent / file
        assert aim.exists(), f"{page.name} links to {target}"
        if anchor and aim.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", aim.read_text(encoding="utf-8"), re.MULTILINE)
            known = {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}
            assert anchor in known, f"{page.name} links to {target}; known are {sorted(known)}"


def loaded(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("folder", sorted((ROOT / "docs" / "benchmark").glob("*/")), ids=lambda folder: folder.name)
def test_benchmarks_are_what_their_results_say(folder):
    """Nothing in them was typed by hand."""
    from unfeature.reports.bench import bench_table

    results = json.loads((folder / "results.json").read_text())
    assert (folder / "results.md").read_text() == bench_table(results)
    if folder.name == "digits":
        paper = loaded("paper_page", ROOT / "benchmarks" / "paper.py")
        assert (folder.parent / "paper.md").read_text() == paper.page(results), "run  python benchmarks/paper.py"


def test_reference_is_what_the_code_says():
    reference = loaded("docs_reference", ROOT / "docs" / "reference.py")
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run  python docs/reference.py"


def test_method_names_functions_of_the_paper_module():
    from unfeature import paper

    table = (ROOT / "docs" / "explanation" / "method.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| \(\w+\) \|.*\| `(\w+)`[^|]*\|$", table, re.MULTILINE)
    assert len(named) == 6
    assert all(hasattr(paper, name) for name in named)
    source = Path(paper.__file__).read_text(encoding="utf-8")
    for code in ("absolute[sim].sum() / n", "(1 - ms_ssim(g[sim], f[sim])).sum() / n", "absolute[~sim].sum() / n"):
        assert code in table
        assert code in source


def test_changelog_and_citation_name_this_version():
    import unfeature

    assert f"## {unfeature.__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version: {unfeature.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_readme_is_short_and_its_first_command_comes_early():
    lines = README.splitlines()
    assert len(lines) <= 200
    assert (
        lines.index(
            "make demo    # makes .venv, installs for the CPU, takes thick strokes out of a shipped generator of digits"
        )
        < 30
    )


def test_readme_names_every_verb():
    from unfeature.cli import COMMANDS

    assert [name for name in COMMANDS if not re.search(rf"`(unfeature )?{name}\b|\$ unfeature {name}\b", README)] == [
        "demo"
    ]
    assert "make demo" in README


def test_examples_are_short_and_there():
    assert len(EXAMPLES) == 3
    assert all(len(example.read_text(encoding="utf-8").splitlines()) <= 80 for example in EXAMPLES)


def test_constraint_named_in_readme_is_there():
    assert (ROOT / "constraints" / "torch-cpu.txt").is_file()
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"] == "unfeature"


@pytest.mark.slow
def test_readme_commands_work(tmp_path):
    commands = [line[2:] for block in blocks(README, "console") for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) == 7
    for command in commands:
        run_here(["bash", "-ec", command], tmp_path)
    assert (tmp_path / "runs" / "thick" / "report.html").is_file()


@pytest.mark.slow
def test_the_demo_ends_as_readme_says(tmp_path):
    """In the same words, and as on one of the two processors that README tells of: shares whose intervals overlap."""
    said = re.compile(r"^Thick strokes: .*$", re.MULTILINE)
    number = re.compile(r"\d+(?:\.\d+)?")
    printed = run_here([sys.executable, "-m", "unfeature", "demo", "runs/demo"], tmp_path, 800)
    lines = [found.group() for found in map(said.search, (printed, README)) if found]
    assert len(lines) == 2 and number.sub("N", lines[0]) == number.sub("N", lines[1]), printed
    other = re.search(r"another one it was (.*?changed digit)", README)
    assert other is not None
    (before, after, low, high, changed), told = ([float(n) for n in number.findall(line)] for line in lines)
    outcomes = told[1:], [float(n) for n in number.findall(other.group(1))]
    assert before == pytest.approx(told[0], abs=0.2) and after < before
    near = [low <= top and least <= high and abs(changed - flips) <= 0.5 for _, least, top, flips in outcomes]
    assert any(near), printed


@pytest.mark.slow
def test_readme_python_works(tmp_path):
    (code,) = blocks(README, "python")
    printed = run_here([sys.executable, "-c", code], tmp_path)
    assert "runs/thin/report.html" in printed
    assert (tmp_path / "runs" / "thin" / "unlearned.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_example_prints_what_its_header_says(example, tmp_path):
    (header,) = re.findall(r"Expected output.*?:\n\n(.*?)\"\"\"", example.read_text(encoding="utf-8"), re.DOTALL)
    expected = [line.strip() for line in header.splitlines() if line.strip()]
    (tmp_path / "runs").mkdir()
    printed = run_here([sys.executable, str(example), "runs/example"], tmp_path).splitlines()
    number = re.compile(r"\d+(?:\.\d+)?")
    assert [number.sub("N", line) for line in printed] == [number.sub("N", line) for line in expected]
    # Another processor rounds otherwise, and a few of 500 pictures change sides.
    got, wanted = ([float(v) for line in side for v in number.findall(line)] for side in (printed, expected))
    assert got == pytest.approx(wanted, rel=0.1, abs=1.0)
