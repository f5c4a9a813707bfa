"""A benchmark: every combination of the values of every axis, for every seed, each a run of its own.

A cell is a run folder, so a killed benchmark goes on where it was, to the same bytes; several processes, on several
machines where they share the folder, take cells that nobody has. Results are read from finished cells alone.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

from unfeature.artifacts import Attacks, Evaluation
from unfeature.errors import BadOption, NotMade, RunBusy, UnfeatureError, UnknownName
from unfeature.options import BenchOptions, RunOptions, laid_over
from unfeature.presets import over_preset, read_toml
from unfeature.store import Run
from unfeature.workflow.marking import versions_of
from unfeature.workflow.whole import run

ROOM = 2**29
"""Bytes in which each process keeps what it saw in originals and teachers; of digits, one feature and seed, 1.5e8."""

CELL, DONE, LOCK, ATTACKED = "cell.json", "report.json", ".cell.lock", "attacks.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Cell:
    """One run of a benchmark."""

    values: dict[str, str]
    """Axis -> the value's name."""
    seed: int
    options: RunOptions

    @property
    def name(self) -> str:
        """Of its run folder."""
        return "-".join((*self.values.values(), str(self.seed)))


def read_bench(path: str | Path) -> BenchOptions:
    """The benchmark a TOML file describes; BadFile, UnknownName, BadOption."""
    return BenchOptions.parse(read_toml(path))


def cells(options: BenchOptions) -> list[Cell]:
    """All cells, the last axis and then the seed changing fastest; BadOption, UnknownName for options of a cell."""
    if not options.axes:
        raise BadOption("a benchmark without axes compares nothing; expected one at least. Add  [axes.method.NAME]")
    for axis in (axis for axis, named in options.axes.items() if not named):
        raise BadOption(f"axis {axis} has no values; expected one at least. Add  [axes.{axis}.NAME]")
    for name in (name for axis in options.axes.values() for name in axis):
        if not _NAME.fullmatch(name):
            raise BadOption(
                f'a value is named "{name}"; expected letters, digits and ".", "_", "+", "-". Name it otherwise.'
            )
    for seed in options.seeds:
        if options.seeds.count(seed) > 1:
            raise BadOption(f"seeds names {seed} more than once; expected each once. Leave the others out.")
    made = []
    for names in product(*options.axes.values()):
        values = dict(zip(options.axes, names, strict=True))
        parts = [options.base, *(options.axes[axis][name] for axis, name in values.items())]
        made += [Cell(values, seed, _options(parts, seed)) for seed in options.seeds]
    folders: dict[str, Cell] = {}
    for cell in made:
        if (other := folders.setdefault(cell.name, cell)) is not cell:
            both = " and ".join(", ".join(one.values.values()) for one in (other, cell))
            raise BadOption(f"{both} share the folder {cell.name}; expected one each. Name a value otherwise.")
    return made


def _options(parts: list[dict[str, Any]], seed: int) -> RunOptions:
    """What parts say one after the other, over the last preset that any of them names."""
    return over_preset("", reduce(laid_over, (*parts, {"sample": {"seed": seed}})))


def bench(
    path: str | Path,
    folder: str | Path,
    *,
    processes: int = 1,
    on_cell: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> list[Path]:
    """Make the cells of a TOML file that are not there yet; write results.json, results.md and results.svg.

    Each process computes on one thread, so that their number changes no figure. `on_cell` is told how many cells are
    done, of how many, and which was the last. BadFile, BadOption; NotMade for cells whose run failed, after all others.
    """
    options, out = read_bench(path), Path(folder)
    everything = cells(options)
    wanted = [cell for cell in everything if not _done(out, cell)]
    done, wrong = len(everything) - len(wanted), dict[str, str]()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(wanted) or 1), mp_context=context, initializer=_begin_worker) as pool:
        waiting = {pool.submit(_make, out, cell): cell.name for cell in wanted}
        if waiting:
            # The pool lists whom to watch when work is handed in, just before it begins the process for it: without
            # more work it would wait for ever where the last one is killed.
            pool.submit(os.getpid)
        try:
            for future in as_completed(waiting):
                made, sentence = future.result()
                done += made
                if sentence:
                    wrong[waiting[future]] = sentence
                on_cell(done, len(everything), waiting[future])
        except BrokenProcessPool as error:
            begun = [cell.name for cell in wanted if Run(out / cell.name).has(CELL) and not _done(out, cell)]
            raise NotMade(
                f"a process of the benchmark was killed, perhaps since memory ran out; expected {processes} at work. "
                f"Finished cells are in {results(options, out)[1]}; begun were {', '.join(begun) or 'none'}. Give the "
                "same command again, with fewer --processes."
            ) from error
        except BaseException:
            for worker in multiprocessing.active_children():  # each has cells to come that cannot be taken back
                worker.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    paths = results(options, out)
    if wrong:
        told = "\n".join(f"{name}: {sentence}" for name, sentence in sorted(wrong.items()))
        raise NotMade(
            f"{len(wrong)} of {len(everything)} cells could not be made; the others are in {paths[1]}.\n{told}"
        )
    return paths


def _begin_worker() -> None:
    """One thread, and room for what cells share; where whoever began the benchmark is killed, nobody stays at work."""
    import torch

    from unfeature.once import KNOWN

    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # else the next cell would begin
    torch.set_num_threads(1)
    KNOWN.room = ROOM
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _done(out: Path, cell: Cell) -> bool:
    """Whether it is made, on whatever device; BadOption where its folder holds a cell of other options.

    Options that are new since then were at their defaults.
    """
    held = Run(out / cell.name)
    if not held.has(CELL):
        return False
    try:
        same = _anywhere(RunOptions.parse(held.read_json(CELL))) == _anywhere(cell.options)
    except (UnknownName, BadOption):
        same = False
    if not same:
        raise BadOption(
            f"{held.folder} was made with other options than the file has now; expected the same. Name another folder, "
            "or move that one away."
        )
    return held.has(DONE)


def _anywhere(options: RunOptions) -> RunOptions:
    """The options of every machine: one of them has a GPU, another has not."""
    return options.model_copy(update={"unlearn": options.unlearn.model_copy(update={"device": "cpu"})})


def _make(out: Path, cell: Cell) -> tuple[bool, str]:
    """Whether the cell is made now, by this process or by another that was quicker, and what went wrong, if anything.

    In words: not all errors find their way out of another process.
    """
    folder = out / cell.name
    try:
        with ExitStack() as stack:
            try:
                stack.enter_context(Run(folder).held(new=True, lock=LOCK))
            except RunBusy:
                return False, ""
            if not _done(out, cell):
                Run(folder).write_json(CELL, cell.options.model_dump(mode="json"))
                run(folder, cell.options)
    except UnfeatureError as error:
        return False, str(error)
    except Exception as error:  # of code that the user named, or since memory ran out
        return False, f"{type(error).__name__}: {error}".partition("\n")[0]
    return True, ""


def results(options: BenchOptions, out: Path) -> list[Path]:
    """Every figure of the finished cells in one file, and its table and plot."""
    from unfeature.reports.bench import bench_table
    from unfeature.reports.bench_plot import bench_svg

    finished = [(cell, Run(out / cell.name)) for cell in cells(options) if _done(out, cell)]
    found = [(cell, held, held.read_as("evaluation.json", Evaluation)) for cell, held in finished]
    rows, whose = [_row(*one) for one in found], versions_of(*(result.versions for _, _, result in found))
    told = {"title": options.title, "axes": list(options.axes), "versions": whose, "rows": rows}
    made = Run(out)
    return [
        made.write_json("results.json", told),
        made.write("results.md", bench_table(told).encode()),
        made.write("results.svg", bench_svg(told).encode()),
    ]


def _row(cell: Cell, held: Run, result: Evaluation) -> dict[str, Any]:
    scores = {row.name: {name: score.to_json() for name, score in row.scores.items()} for row in result.rows}
    told = {
        "values": cell.values,
        "seed": cell.seed,
        "n": result.n,
        "judge": result.judge["name"],
        "extractor": result.extractor,
        "scores": scores,
        "floor": {name: score.to_json() for name, score in result.floor.items()},
        "verdict": held.read_json("report.json")["verdict"]["status"],
    }
    if held.has(ATTACKED):
        told["attacks"] = _attacked(held.read_as(ATTACKED, Attacks))
    return told


def _attacked(attacks: Attacks) -> dict[str, dict[str, Any]]:
    """Attack -> target -> its first figure, and of relearning the steps."""
    found: dict[str, dict[str, Any]] = {}
    for result in attacks.results:
        steps = {name: result.facts[name] for name in ("steps_to_half", "steps") if result.name == "relearning"}
        found.setdefault(result.name, {})[result.target] = {"figure": result.figures[0].to_json(), **steps}
    return found
