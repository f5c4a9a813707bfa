"""What the routes share: the folder of runs, their marks, the painter, the jobs. No torch here."""

from __future__ import annotations

import asyncio
import errno
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from unfeature import __version__, zoo
from unfeature.errors import BadFile, MissingStep, RunBusy, UnfeatureError
from unfeature.images import cell
from unfeature.marks import SIDES, Marks, asked
from unfeature.metrics import MEASUREMENTS
from unfeature.store import Run
from unfeature.web import standing
from unfeature.web.jobs import CHOICE, Jobs
from unfeature.web.painter import Painter
from unfeature.web.standing import Stage
from unfeature.web.ways import WAYS, base

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

DOWNLOADS = {
    "unlearned.safetensors": "the unlearned checkpoint",
    "report.html": "the report",
    "report.md": "the report as Markdown",
    "report.json": "the report as JSON",
    "dossier.zip": "all the evidence",
    "feedback.json": "the marks",
    "feature.safetensors": "the direction and threshold",
    "evaluation.json": "every figure",
}
"""Files of a run that may be downloaded, and what each is."""

BROWSERS = 1000
"""Browsers of a run whose numbers are remembered."""

Found = TypeVar("Found")


class UnknownRun(UnfeatureError, LookupError):
    """No run of that name in the folder that the page was opened with."""


class OtherPictures(RunBusy):
    """What a browser shows or marks was drawn anew since."""


@dataclass
class Numbers:
    """Which operations of one browser are saved; its requests may overtake one another, and come twice."""

    next: int
    """The first that is not saved."""
    beyond: set[int] = field(default_factory=set)
    """Later ones that are."""
    latest: dict[int, int] = field(default_factory=dict)
    """Picture -> number of the operation that its mark comes from."""

    def new(self, first: int, ops: Sequence[tuple[int, str]]) -> dict[int, tuple[int, str]]:
        """Of these operations those that later ones have not replaced, by number."""
        numbered = {number: op for number, op in enumerate(ops, first) if number > self.latest.get(op[0], -1)}
        return dict(sorted(numbered.items()))

    def save(self, first: int, ops: Sequence[tuple[int, str]]) -> None:
        """These are saved now."""
        self.latest |= {index: number for number, (index, _) in self.new(first, ops).items()}
        self.beyond |= set(range(max(first, self.next), first + len(ops)))
        while self.next in self.beyond:
            self.beyond.remove(self.next)
            self.next += 1


@dataclass
class OpenRun:
    """A run that somebody marks."""

    marks: Marks
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    browsers: dict[str, Numbers] = field(default_factory=dict)

    def apply(self, browser: str, first: int, ops: Sequence[tuple[int, str]]) -> dict[str, Any]:
        """Marks changed and saved; up to which number everything of this browser's is, and how many of each."""
        numbers = self.browsers.setdefault(browser, Numbers(first))
        self.marks.apply(numbers.new(first, ops).values())
        numbers.save(first, ops)
        while len(self.browsers) > BROWSERS:
            del self.browsers[next(iter(self.browsers))]
        return {"saved": numbers.next - 1, **self.marks.counts()}


class Desk:
    """The page's side of a folder of runs."""

    def __init__(self, runs: Path, first: str = "", *, remote: bool = False) -> None:
        self.runs, self.first, self.remote = runs.resolve(), first, remote
        self.shown_as = str(runs)
        self.painter = Painter()
        self.jobs, self.studies = Jobs("train"), Jobs("study")
        self._open: dict[str, OpenRun] = {}
        self._one = threading.Lock()

    def folder(self, name: str) -> Path:
        """Where a run of that name lies; UnknownRun for a name that is none of a run's here."""
        path = self.runs / name
        if not NAME.fullmatch(name) and Path(name).name == name and (path / "run.json").is_file():
            raise UnknownRun(
                f'the page cannot open a run folder called "{name[:80]}"; expected a name of letters, digits, ".", "_" '
                'and "-". Rename the folder, or use the commands.'
            )
        if not NAME.fullmatch(name) or not (path / "run.json").is_file():
            raise UnknownRun(
                f'there is no run "{name[:80]}" in {self.shown_as}; expected one of those on the start page.'
            )
        return path

    def new_folder(self, name: str, feature: str) -> Path:
        """A folder that is not there yet, of the given name or one made from the feature's; RunBusy."""
        wanted = name or re.sub(r"[^a-z0-9]+", "-", feature.lower()).strip("-")[:40] or "run"
        if not NAME.fullmatch(wanted):
            raise UnknownRun(f'a run cannot be called "{name[:80]}"; expected letters, digits, ".", "_" and "-".')
        if name and (self.runs / name).exists():
            raise RunBusy(f'there is a run "{name}" in {self.shown_as} already; expected another name.')
        numbered = (self.runs / (wanted + (f"-{i}" if i > 1 else "")) for i in range(1, 10_000))
        return next(path for path in numbered if not path.exists())

    def opened(self, name: str) -> OpenRun:
        """A run's marks, read once and again where somebody else has written them, or what is marked, or whose."""
        run = Run(self.folder(name))
        now = asked(run)
        with self._one:  # whoever comes first opens it, for all
            known = self._open.get(name)
            if known is None:
                known = self._open[name] = OpenRun(Marks(run))
            elif known.marks.asked != now:  # browsers go on counting
                known.marks = Marks(run)
        known.marks.load()
        return known

    def showing(self, name: str, shown: str) -> OpenRun:
        """A run's marks; OtherPictures where a browser shows pictures of another hash than its own, if it tells one."""
        run = self.opened(name)
        if shown and shown != run.marks.asked.pictures:
            raise OtherPictures(
                f"the pictures of {name} were drawn anew since this page showed them; expected marks of those that are "
                "there now. They are shown from here on; the last marks, of the old ones, were not taken."
            )
        return run

    async def changed(self, name: str, change: Callable[[OpenRun], Found], shown: str = "") -> Found:
        """Change a run's marks, one request at a time; RunBusy while a copy is trained on them, OtherPictures."""
        async with self.opened(name).lock:
            run = self.showing(name, shown)
            if self.locked(name):
                raise RunBusy("the copy is being trained on these marks; expected it done or stopped. Stop it first.")
            return await asyncio.to_thread(change, run)

    def locked(self, name: str) -> bool:
        """Whether marks have to stay as they are."""
        folder = self.folder(name)
        return self.jobs.running(folder) or self.studies.running(folder)

    async def look(self, name: str, verb: str, *arguments: Any, newest: str = "") -> Any:
        """What the painter sees in a run."""
        kind = f"{name}/{newest}" if newest else ""
        return await self.painter.ask("look", str(self.folder(name)), verb, *arguments, newest=kind)

    def start(self) -> dict[str, Any]:
        """What the start page offers."""
        shipped = {
            name: f"{card['image_shape'][1]}x{card['image_shape'][2]} px, {card['latent_dim']} latents"
            for name, card in zoo.cards("generator").items()
        }
        return {
            "version": __version__,
            "remote": self.remote,
            "folder": self.shown_as,
            "generators": [{"name": name, "about": about} for name, about in shipped.items()],
            "judges": sorted(MEASUREMENTS),
            "runs": self._listed(),
            "open": self.first or None,
        }

    def _listed(self) -> list[dict[str, Any]]:
        """Runs of the folder that have a feature's name, the latest first; those that cannot be read are left out."""
        found = []
        for path in self.runs.glob("*/request.json"):
            name = path.parent.name
            try:
                marks = self.opened(name).marks
                told = {"name": name, "feature": marks.asked.feature, "generator": marks.asked.generator}
                stage = {"stage": self.stage(name), "marks": marks.counts()["shows"]}
                found.append((path.stat().st_mtime_ns, told | stage))
            except (UnfeatureError, OSError):
                continue
        return [told for _, told in sorted(found, key=lambda each: -each[0])]

    def about(self, name: str) -> dict[str, Any]:
        """A run as the page shows it."""
        run, marks, stage = Run(self.folder(name)), self.opened(name).marks, self.stage(name)
        about, request, gallery = (run.read_json(f"{part}.json") for part in ("run", "request", "gallery"))
        with run.making_sense("request.json"):
            told = {"judge": request["judge"], "wanted": request["wanted_ratio"], "gallery": len(gallery["seeds"])}
        return told | {
            "name": name,
            "feature": marks.asked.feature,
            "generator": about["generator"],
            "pictures": marks.asked.pictures,
            "seed": marks.asked.seed,
            "image": cell(about["spec"]["image_shape"]),
            "stage": stage,
            "marked": standing.marked(run),
            "marks": {mark: marks.of(mark) for mark in SIDES},
            "files": [file for file in DOWNLOADS if stage != "marking" and standing.holds(run, file, stage)],
            "locked": self.locked(name),
        }

    def others(self, name: str) -> list[dict[str, Any]]:
        """Runs whose marks may say what a run's edit keeps: of the same generator, with marks of both sides."""
        generator, found = self.opened(name).marks.asked.generator, []
        for run in self._listed():
            if run["name"] == name or run["generator"] != generator:
                continue
            counts = self.opened(run["name"]).marks.counts()
            if counts["shows"] and counts["without"]:
                found.append({key: run[key] for key in ("name", "feature")} | counts)
        return found

    def ways(self, name: str) -> dict[str, Any]:
        """How a run's feature may be found: each way's steps, what may be kept, and what was asked for last."""
        state = self.jobs.state(self.folder(name))
        chosen = {key: state[key] for key in CHOICE if key in state}
        steps = {way: base(way).unlearn.steps for way in WAYS}
        return {"steps": steps, "others": self.others(name), "chosen": chosen or None}

    def stage(self, name: str) -> Stage:
        """How far a run is as it is now."""
        folder = self.folder(name)
        return "marking" if self.jobs.running(folder) else standing.stage(Run(folder))

    def shown_file(self, name: str, file: str) -> Path:
        """A file of a run, as it is now, that may be shown or downloaded; MissingStep."""
        run = Run(self.folder(name))
        if file not in DOWNLOADS or not standing.holds(run, file, self.stage(name)):
            raise MissingStep(
                f'run {name} as it is now has no file "{file[:80]}" to give; expected one of {", ".join(DOWNLOADS)}, '
                "of these marks. Unlearn first."
            )
        return run.path(file)

    async def begin(self, wanted: dict[str, Any]) -> tuple[str, list[str]]:
        """Start a run; its name, and what was found in the generator's file. It appears whole or not at all."""
        named = wanted["name"], wanted["feature"]
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadFile(f"cannot make the folder {self.shown_as}: {error.strerror}. Open another folder.") from error
        self.new_folder(*named)  # a name that is taken is told before seconds of drawing
        making = self.runs / f".new-{secrets.token_hex(8)}"
        try:
            notes: list[str] = await self.painter.ask("begin", str(making), wanted)
            return self._placed(making, *named).name, notes
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _placed(self, making: Path, name: str, feature: str) -> Path:
        """Where a run that was made has come to lie; RunBusy, BadFile."""
        while True:
            final = self.new_folder(name, feature)
            try:
                return making.rename(final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # somebody was quicker
                    raise BadFile(f"cannot make {final}: {error.strerror}. Give the run another name.") from error

    # What the study's routes ask for.

    async def sheet(self, name: str, seeds: list[int]) -> bytes:
        """A PNG of the pictures of these seeds, eight in a row."""
        made: bytes = await self.look(name, "pictures", seeds)
        return made

    async def start_study_job(self, name: str) -> None:
        """One training for each annotator, and one for all."""
        await self.studies.start(self.folder(name), {"steps": 1000})

    async def cancel_study_job(self, name: str) -> None:
        """Stop that."""
        await self.studies.cancel(self.folder(name))

    def study_job(self, name: str) -> dict[str, Any]:
        """How far that is."""
        return self.studies.state(self.folder(name))
