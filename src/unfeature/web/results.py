"""What a study's trainings gave, where it is of the marks, feature, judge and generator there now. No torch."""

from __future__ import annotations

import json
from typing import Any

from unfeature.artifacts import Feedback
from unfeature.errors import BadFile, MissingStep
from unfeature.marks import SIDES, asked
from unfeature.seeds import stream
from unfeature.store import Run, parse_json
from unfeature.studies import Outcome, Study, slug

TIMES = ("seconds", "pauses", "paused", "done")
"""Of an annotator, what changes no result."""


def results(study: Study, told: Outcome) -> dict[str, Any]:
    """ "rows" of result.json, None where there are none of what is there now, and whether there are "earlier" ones.

    `told` is the study's outcome now. BadFile, MissingStep for a run that cannot be read.
    """
    path = study.path.with_name("result.json")
    try:
        result = parse_json(path, path.read_bytes())
        of = [result[part] for part in ("feature", "generator", "judge", "outcome")]
        rows = [row for row in result["rows"] if row["ratio"]]
    except (OSError, BadFile, LookupError, TypeError):  # not done yet; a damaged one is made anew by the next job
        return {"rows": None, "earlier": False}
    run = Run(study.folder)
    now = asked(run)
    present = [now.feature, now.generator, run.read_json("request.json").get("judge"), told.to_json()]
    earlier = _plain(of) != _plain(present) or not _of_these_marks(study, now.generator, now.seed)
    return {"rows": None if earlier else rows, "earlier": earlier}


def _plain(value: list[Any]) -> Any:
    """As JSON, figures as far as machines agree on them; the outcome, which comes last, without times."""
    plain = json.loads(json.dumps(value), parse_float=lambda figure: round(float(figure), 6))
    if isinstance(plain[-1], dict) and isinstance(plain[-1].get("annotators"), list):
        for one in plain[-1]["annotators"]:
            for part in TIMES:
                one.pop(part, None)
    return plain


def _of_these_marks(study: Study, generator: str, seed: int) -> bool:
    """Whether each annotator's run is of what they say now."""
    first = int(stream("gallery", seed, 0, 1)[0])
    for number, annotator in enumerate(study.plan.annotators):
        sides = study.sides(number)
        if not (sides["shows"] and sides["without"]):  # nothing was trained on these
            continue
        run = Run(study.path.with_name("runs") / slug(number, annotator.name))
        try:
            feedback = run.read_as("feedback.json", Feedback)
        except (BadFile, MissingStep):
            return False
        marked = {mark: list(getattr(feedback, side)) for mark, side in SIDES.items()}
        if feedback.generator != generator or marked != {mark: [first + i for i in sides[mark]] for mark in SIDES}:
            return False
    return True
