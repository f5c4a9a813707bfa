"""From an unlearned generator to what can be brought back: attack."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfeature.artifacts import AttackResult, Attacks, Feedback, content_id
from unfeature.attacks import ATTACKS
from unfeature.drawing import frozen
from unfeature.errors import BadOption, NotApplicable, ShapeError
from unfeature.features import fresh
from unfeature.features.guides import Helpers
from unfeature.images import Pixels, grid, pixels_of, png
from unfeature.options import AttackOptions, FindOptions
from unfeature.plugins import load_object, name_code
from unfeature.protocols import Attack, Feature, Generator, GuidedFeature, Judge, Scene
from unfeature.store import Run, write_atomic
from unfeature.tables import resolve
from unfeature.workflow.apart import guides, judged_too
from unfeature.workflow.inputs import (
    About,
    Request,
    the_control,
    the_decider,
    the_feature,
    the_generator,
    the_helpers,
    the_unlearned,
)
from unfeature.workflow.marking import versions, versions_of

TARGETS = ("original", "unlearned", "control")
"""In the order of tables and pictures."""

SIDE = 112
"""Pixels a side to which small pictures are enlarged in attacks.png, at least."""

Guided = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Job:
    """One attack on one target."""

    name: str
    scene: Scene


def attack(
    folder: str | Path,
    options: AttackOptions | None = None,
    on_job: Callable[[int, int], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Attacks:
    """Attack original, unlearned copy and control. Writes attacks.json after every attack on every target, attacks.png.

    What an earlier call found with the same options stays, so a killed one goes on, to the same bytes; `on_note` is
    told where others' results are put, those of other options, another feature or copy. UnknownName,
    BadOption, MissingStep; NotApplicable where an attack that was asked for by name has nothing to work on.
    """
    options = options or AttackOptions()
    for name in options.attack:
        resolve("attack", ATTACKS, name)
    run = Run(Path(folder))
    with run.held():
        generator, about = the_generator(run)
        feature, facts = the_feature(run, generator)
        student, _ = the_unlearned(run, generator)
        judge = the_decider(run, generator, about.seed)
        guide, told = _guide(run, generator, feature, facts, options, judge)
        targets = {"original": generator, "unlearned": student}
        if options.control:
            targets["control"] = the_control(about, generator, options.control)
        plain = options.model_dump(exclude={"attack", "control"})
        made_from: dict[str, Any] = {"original": generator.spec.id, "unlearned": student.spec.id}
        made_from |= {"feature": content_id(facts), "called": run.read_as("request.json", Request).feature}
        made_from |= {"judge": dict(judge.about), "guide": told, "options": plain, "seed": about.seed}
        before = _earlier(run, made_from, on_note)
        known = {(result.name, result.target): result for result in before.results if _still(result, targets)}
        if len(known) < len(before.results):
            on_note(f"results of the control before are in {run.retire('attacks.json')}")
        found = replace(before, made_from=made_from, results=_ordered(known), versions=before.versions if known else {})
        scene = Scene(generator, generator, "original", feature, guide, judge, _encoder(options, generator))
        jobs = [
            Job(name, replace(scene, target=target, called=called))
            for name in ATTACKS
            if name in options.attack or not options.attack
            for called, target in targets.items()
        ]
        for done, job in enumerate(jobs):
            on_job(done, len(jobs))
            if (job.name, job.scene.called) not in known:
                found = replace(found, versions=versions_of(found.versions, versions()))
                found = _done(found, job, options, about.seed)
                _write(run, found)
        on_job(len(jobs), len(jobs))
        _write(run, found)
        run.write("attacks.png", _sheet(found))
    return found


def _guide(
    run: Run, generator: Generator, feature: Feature, facts: dict[str, Any], options: AttackOptions, judge: Judge
) -> tuple[Guided, str]:
    """Who guides the searches, and what it is called; BadOption where that is who judges, under whatever name."""
    if isinstance(feature, GuidedFeature) and not options.guide:
        finds = [facts["options"], *(other["find"] for other in facts.get("also", []))]
        helpers = the_helpers(run, generator, facts["options"]["extractor"])
        _check_guides(run, generator, judge, [{**found, "keep": ()} for found in finds], helpers)
        return feature.remaining, "the feature's own guide"
    for reference in (options.guide, options.extractor):
        name_code(reference)
    network = "" if options.guide else options.extractor
    how = FindOptions(finder="counterfactual", guide=options.guide, extractor=network)
    feedback, seed = run.read_as("feedback.json", Feedback), run.read_as("run.json", About).seed
    helpers = the_helpers(run, generator, network)
    _check_guides(run, generator, judge, [how.model_dump()], helpers)
    guide = fresh.learn(frozen(generator), feedback, how, helpers, seed).guide
    return guide.log_odds, options.guide or "a probe of the marks"


def _check_guides(run: Run, generator: Generator, judge: Judge, finds: list[dict[str, Any]], helpers: Helpers) -> None:
    """BadOption where whoever guides by these options is the judge."""
    judges = {run.read_as("request.json", Request).judge: judge}
    for reference, guide, why in judged_too(run, generator, judges, guides(run, generator, finds, helpers)):
        raise BadOption(
            f'the judge "{reference}" {why}, which would guide the attacks too ({guide.what}); expected another guide, '
            "since whatever guides is never what judges. Name a network that was trained apart from it:  "
            "--guide FILE.py:NAME"
        )


def _encoder(options: AttackOptions, generator: Generator) -> Callable[[Tensor], Tensor] | None:
    """The user's function, pictures (n, c, h, w) to latents (n, d), where one is named. ShapeError, BadFile."""
    if not options.encoder:
        return None
    name_code(options.encoder)
    function, spec = load_object(options.encoder), generator.spec
    try:
        with torch.no_grad():
            problem = f"gave {tuple(function(torch.zeros(2, *spec.image_shape)).shape)} for 2 pictures"
    except Exception as error:
        problem = f"failed: {type(error).__name__}: {error}".partition("\n")[0]
    if problem != f"gave {(2, spec.latent_dim)} for 2 pictures":
        raise ShapeError(
            f'encoder "{options.encoder}" {problem}; expected a function of pictures (n, '
            f"{', '.join(map(str, spec.image_shape))}) that returns latents (n, {spec.latent_dim}). Mend the file."
        )
    encode: Callable[[Tensor], Tensor] = function
    return encode


def _earlier(run: Run, made_from: dict[str, Any], on_note: Callable[[str], None]) -> Attacks:
    """What was found before from exactly this; other results are put into history/."""
    if run.has("attacks.json"):
        found = run.read_as("attacks.json", Attacks)
        if content_id(found.made_from) == content_id(made_from):
            return found
        where = run.retire("attacks.json")
        on_note(f"earlier results, of other options, another feature or copy, are in {where}")
    return Attacks({}, (), {})


def _still(result: AttackResult, targets: Mapping[str, Generator]) -> bool:
    """Whether a result is of a target there now; of an earlier control too, where no other is given."""
    target = targets.get(result.target)
    return target is None or target.spec.id == result.generator


def _ordered(results: Mapping[tuple[str, str], AttackResult]) -> tuple[AttackResult, ...]:
    return tuple(results[name, called] for name in ATTACKS for called in TARGETS if (name, called) in results)


def _done(found: Attacks, job: Job, options: AttackOptions, seed: int) -> Attacks:
    """With what this attack found on this target, or why it does not apply."""
    made: Attack = resolve("attack", ATTACKS, job.name)(options, seed=seed)
    try:
        result = made.run(job.scene)
    except NotApplicable as why:
        if job.name in options.attack:
            raise
        return replace(found, left_out={**found.left_out, job.name: str(why)})
    left_out = {name: why for name, why in found.left_out.items() if name != job.name}
    known = {(other.name, other.target): other for other in (*found.results, result)}
    return replace(found, results=_ordered(known), left_out=left_out)


def _write(run: Run, found: Attacks) -> None:
    """All or nothing, without a copy in history/: it only grows."""
    text = json.dumps(found.to_json(), indent=1, sort_keys=True)
    write_atomic(run.path("attacks.json"), f"{text}\n".encode())


def _sheet(found: Attacks) -> bytes:
    """The best picture of every attack, a row an attack and a column a target; grey where there is none."""
    pictures = {(result.name, result.target): pixels_of(result.picture) for result in found.results}
    one = next(iter(pictures.values()), np.zeros((1, 1), dtype=np.uint8))
    blank = np.full_like(one, 128)
    names = [name for name in ATTACKS if any(name == known for known, _ in pictures)]
    columns = [called for called in TARGETS if any(called == known for _, known in pictures)]

    def cells() -> Iterator[Pixels]:
        for name in names:
            for called in columns:
                yield pictures.get((name, called), blank)

    sheet = grid(np.stack(list(cells())), len(columns)) if names else one
    return png(sheet, max(1, SIDE // max(one.shape[:2])))
