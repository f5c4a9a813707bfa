"""Features of other runs that a run answers for: found there and unlearned together, or unlearned there before."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from unfeature.errors import BadOption, WrongGenerator
from unfeature.features.several import joined
from unfeature.judging import load_judge
from unfeature.plugins import require_named
from unfeature.protocols import Feature, Generator, Judge
from unfeature.store import Run
from unfeature.workflow.inputs import About, Other, Request, the_feature, the_generator, the_judge, the_unlearned


def together(folder: Path, runs: Sequence[str], generator: Generator) -> list[tuple[Feature, list[Other]]]:
    """The feature of each run and who judges it; WrongGenerator, BadOption for the run itself, MissingStep."""
    found = []
    for name in runs:
        run = Run(Path(name))
        if run.folder.resolve() == folder.resolve():
            raise BadOption(f"--also names {name}, the run itself; expected another run's folder. Leave it out.")
        about = run.read_as("run.json", About)
        if about.spec.id != generator.spec.id:
            raise WrongGenerator(f"feature in {name}", about.spec.id, generator.spec.id)
        feature, facts = the_feature(run, generator)
        request = _judged(run, generator, about)
        found.append((feature, [Other(name, request, facts["options"]), *joined_others(run, facts)]))
    return found


def joined_with(feature: Feature, others: list[tuple[Feature, list[Other]]]) -> tuple[Feature, list[dict[str, Any]]]:
    """One feature of this run's and those of others, and what is saved about the others; the feature alone without."""
    if not others:
        return feature, []
    parts = [feature, *(other for other, _ in others)]
    whole = joined(" and ".join(part.state()[1]["name"] for part in parts), parts)
    return whole, [told.to_json() for _, tellers in others for told in tellers]


def after(name: str | Path) -> tuple[str, str, dict[str, Any], tuple[Other, ...]]:
    """Generator, weights and arguments of what that run made, and all that was unlearned from it. MissingStep."""
    run = Run(Path(name))
    generator, about = the_generator(run)
    result = the_unlearned(run, generator)[0].spec.id
    _, facts = the_feature(run, generator)
    now = (Other(str(name), _judged(run, generator, about), facts["options"]), *joined_others(run, facts))
    gone = (*about.after, *(replace(other, result=result) for other in now))
    return about.generator, str(run.path("unlearned.safetensors")), about.arguments, gone


def _judged(run: Run, generator: Generator, about: About) -> Request:
    """The run's request, a measured feature's cut with it."""
    judge, request = the_judge(run, generator, about.seed), run.read_as("request.json", Request)
    return request if request.cut is not None else replace(request, cut=getattr(judge, "cut", None))


def joined_others(run: Run, facts: dict[str, Any]) -> tuple[Other, ...]:
    """The others that a feature was joined with."""
    with run.making_sense("feature.safetensors"):
        return TypeAdapter(tuple[Other, ...]).validate_python(facts.get("also", []))


def the_others(
    run: Run, generator: Generator, about: About, facts: dict[str, Any], taken: Collection[str] = ()
) -> dict[str, tuple[Other, Judge]]:
    """Feature -> whose it is and who decides, of all others that somebody judges. UntrustedCode, BadFile.

    One whose name is `taken` is called after its run too.
    """
    found: dict[str, tuple[Other, Judge]] = {}
    for other in (*joined_others(run, facts), *about.after):
        asked, came_from = other.request, "run.json" if other.result else "feature.safetensors"
        require_named(asked.judge, str(run.path(came_from)))
        if asked.judge:
            judge = load_judge(asked.judge, generator, about.seed, asked.share, asked.cut)
            found[_free_name(asked.feature, other.run, {*taken, *found})] = other, judge
    return found


def _free_name(feature: str, run: str, taken: Collection[str]) -> str:
    """The feature's name, with its run where another of the same name is there; with a number for a run seen twice."""
    names = [feature, f"{feature} in {run}", *(f"{feature} in {run}, {i}" for i in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)
