"""The process that trains, started by the page: the verbs from `find` to `report`, told as lines of JSON.

    python -m unfeature.web.work train RUN '{"way": "auto", "keep": ["slant"], "steps": 1000}'

It stops, with everything saved, when its standard input closes: when the page cancels, and when the server dies.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unfeature.errors import UnfeatureError
from unfeature.web import ways

EVERY = 20
"""Steps between two lines about training; checked steps are told in any case."""


def say(**told: Any) -> None:
    """A line for the server."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def train(folder: Path, asked: dict[str, Any]) -> str:
    """From marks to an unlearned checkpoint, and to report and dossier where somebody judges; the last sentence."""
    from unfeature import options as o
    from unfeature import workflow

    say(verb="find")
    workflow.fix_cut(folder)
    workflow.find(folder, ways.find_options(folder, asked), tell_batch, lambda sentence: say(warning=sentence))
    say(verb="preview")
    flips, distances = ways.extractors(folder)
    workflow.preview(folder, o.PreviewOptions(extractor=flips))
    say(verb="unlearn", steps=asked["steps"])
    workflow.unlearn(folder, ways.unlearn_options(asked), on_step=tell_step)
    if not json.loads((folder / "request.json").read_text())["judge"]:
        return "Trained. Nobody was named to judge the result, so there is no report: look at the pictures."
    say(verb="evaluate", step=0, steps=0)
    workflow.evaluate(folder, o.EvaluateOptions(extractor=distances), tell_batch)
    say(verb="report")
    workflow.dossier(folder)
    sentence: str = json.loads((folder / "report.json").read_text())["verdict"]["sentence"]
    return sentence


def tell_step(record: Any) -> None:
    """A step record, not every one."""
    if record.distance is not None or record.step % EVERY == 0:
        ratio = record.ratio.value if record.ratio is not None else None
        say(step=record.step, loss=record.loss, distance=record.distance, ratio=ratio)


def tell_batch(done: int, total: int) -> None:
    """How far finding or the evaluation is."""
    say(step=done, steps=total)


def study(folder: Path, asked: dict[str, Any]) -> str:
    """One unlearning run for each annotator of a study and one for their consensus, and the study's report."""
    from unfeature import workflow

    workflow.study_unlearn(
        folder,
        steps=asked["steps"],
        extractors=ways.extractors(folder),
        on_verb=lambda who: say(verb=who, step=0, steps=asked["steps"]),
        on_step=tell_step,
    )
    return "Every annotator's marks were unlearned, and what all of them together say. The report is ready."


WORK: dict[str, Callable[[Path, dict[str, Any]], str]] = {"train": train, "study": study}


def _stop_with_the_server() -> None:
    """Wait for the end of standard input; then stop as Ctrl-C does."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGINT)


def main(kind: str, folder: str, asked: str) -> int:
    """0 when done, 2 after a mistake that can be put right, 1 after one of ours, 130 when stopped."""
    threading.Thread(target=_stop_with_the_server, daemon=True).start()
    try:
        say(done=WORK[kind](Path(folder), json.loads(asked)))
    except KeyboardInterrupt:
        return 130
    except UnfeatureError as error:
        say(error=str(error))
        return 2
    except Exception as error:
        traceback.print_exc()
        say(error=f"something went wrong inside ({type(error).__name__}: {error}); the whole story is in job.log")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
