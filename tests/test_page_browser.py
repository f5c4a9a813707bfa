"""The page in a real browser: the whole way by mouse, by keyboard alone and at 360 px; quick, accessible, quiet."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from pages import Page as Served
from pages import serving, wait
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from unfeature import options as o
from unfeature import workflow
from unfeature.drawing import drawn
from unfeature.generators.loading import load_generator
from unfeature.judging import load_judge
from unfeature.seeds import stream
from unfeature.store import Run

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"),
]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MINUTE = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page over a folder that is not there yet."""
    with serving(tmp_path_factory.mktemp("browser") / "runs") as page:
        yield page


class Watched:
    """A window in which nothing may complain and nothing may be asked of others."""

    def __init__(self, browser: Browser, served: Served, **context: object) -> None:
        self.context: BrowserContext = browser.new_context(**context)  # type: ignore[arg-type]
        self.context.request.get(served.entrance)  # the cookie, as by the address that was printed
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(2 * MINUTE)
        self.address, self.complaints, self.requests = served.address, [], []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def close(self) -> None:
        outside = [url for url in self.requests if not url.startswith((self.address, "blob:", "data:"))]
        self.context.close()
        assert outside == []
        assert self.complaints == []


@pytest.fixture
def window(browser: Browser, served: Served) -> Iterator[Watched]:
    watched = Watched(browser, served, viewport={"width": 1280, "height": 900})
    yield watched
    watched.close()


def begin(page: Page, address: str, feature: str, generator: str = "mnist-vae") -> str:
    """Through the start page to the wall; the run's name."""
    page.goto(address)
    page.get_by_role("radio", name=re.compile(f"^{generator}")).check()
    page.get_by_label("What should disappear?").fill(feature)
    page.get_by_role("button", name="Show pictures").click()
    page.wait_for_selector(".tile[data-drawn]")
    return page.url.partition("#/")[2].partition("/")[0]


def tile(page: Page, index: int) -> str:
    """A picture's selector, once it is on the screen."""
    here = f'.tile[data-index="{index}"][data-drawn]'
    for _ in range(200):
        if page.locator(here).count():
            break
        first = page.evaluate("Math.min(...[...document.querySelectorAll('.tile')].map(tile => tile.index))")
        page.mouse.wheel(0, -300 if index < first else 300)
        page.wait_for_timeout(30)
    return here


def counted(served: Served, run: str) -> dict[str, int]:
    return {mark: len(found) for mark, found in served.get(f"/api/runs/{run}")["marks"].items()}


def saved(page: Page, served: Served, run: str) -> dict[str, int]:
    """The counts that the page shows, once the server has them on disk."""

    def agreed() -> dict[str, int] | None:
        numbers = page.locator(".tally b").all_text_contents()
        shown = dict(zip(("shows", "unsure", "without"), (int(n.replace(",", "")) for n in numbers), strict=True))
        return shown if shown == counted(served, run) else None

    found: dict[str, int] = wait(agreed, 30)
    expect(page.locator(".saved")).to_have_text("Saved")
    return found


def by_the_command_line(served: Served, run: str, folder: Path, steps: int) -> bytes:
    """The checkpoint that the same marks give without a page."""
    told = served.get(f"/api/runs/{run}/job")
    marks = served.folder / run / "feedback.json"
    workflow.sample(folder, "mnist-vae")
    workflow.mark(folder, json.loads(marks.read_text())["feature"], str(marks))
    workflow.find(folder, o.FindOptions(threshold=told["threshold"], margin=told["margin"]))
    workflow.unlearn(folder, o.UnlearnOptions(steps=steps))
    return (folder / "unlearned.safetensors").read_bytes()


@pytest.mark.slow
def test_pictures_drawn_anew_are_shown_and_the_last_mark_of_the_old_ones_is_told(
    window: Watched, served: Served
) -> None:
    page, again = window.page, window.page.locator("#alerts .alert")
    run = begin(page, served.address, "stale")
    page.click(tile(page, 3))
    assert saved(page, served, run)["shows"] == 1
    workflow.sample(served.folder / run, "mnist-vae", o.SampleOptions(count=64, seed=1))
    page.click(tile(page, 5))
    expect(again).to_contain_text("were drawn anew")
    assert again.count() == 1
    page.wait_for_selector(".tile[data-drawn]")
    assert saved(page, served, run)["shows"] == 0
    page.click(tile(page, 5))
    assert saved(page, served, run)["shows"] == 1
    window.complaints[:] = [told for told in window.complaints if "409" not in told]


def unlearn(page: Page, steps: int) -> None:
    """From the preview to a finished copy."""
    page.get_by_role("button", name="Use this strength").click()
    page.get_by_role("button", name="Unlearn", exact=True).wait_for()
    page.locator("summary").first.click()
    page.get_by_label(re.compile("More steps")).fill(str(steps))
    page.get_by_role("button", name="Unlearn", exact=True).click()
    page.get_by_role("link", name="Compare before and after").wait_for()


def test_the_whole_way_by_mouse(window: Watched, served: Served, tmp_path: Path) -> None:
    page = window.page
    run = begin(page, served.address, "bold & <b>thick</b>")
    assert page.locator("h1").text_content() == "Which pictures show bold & <b>thick</b>?"
    page.wait_for_timeout(1200)  # long enough to have looked at the first screen
    for index in range(0, 180, 3):
        page.click(tile(page, index))
    assert page.locator(".count.shows").text_content() == "60 show it"
    page.click(tile(page, 200))
    page.click(tile(page, 219), modifiers=["Shift"])
    assert saved(page, served, run)["shows"] == 80
    page.get_by_role("button", name="Undo").click()
    assert saved(page, served, run)["shows"] == 61
    page.get_by_role("button", name="Redo").click()
    page.click(tile(page, 0))
    told = saved(page, served, run)
    assert told["shows"] == 79 and told["unsure"] == 1 and told["without"] > 20, told
    page.reload()
    page.wait_for_selector(".tile[data-drawn]")
    assert page.locator(".count.shows").text_content() == "79 show it"
    page.get_by_role("link", name="Preview").last.click()
    page.get_by_role("slider").first.wait_for()
    page.wait_for_selector(".pairs canvas")
    expect(page.get_by_text("not a proof").first).to_be_visible()
    unlearn(page, 60)
    page.get_by_role("link", name="Compare before and after").click()
    page.wait_for_selector(".compare-wall .cell")
    with page.expect_download() as download:
        page.get_by_role("link", name="unlearned.safetensors").click()
    assert Path(download.value.path()).read_bytes() == by_the_command_line(served, run, tmp_path / "other", 60)
    with page.expect_download() as download:
        page.get_by_role("link", name=f"{run}.zip").click()
    assert Path(download.value.path()).read_bytes()[:2] == b"PK"


def test_the_whole_way_by_keyboard_alone(window: Watched, served: Served) -> None:
    page, press = window.page, window.page.keyboard.press
    page.goto(served.address)
    page.get_by_role("radio", name=re.compile("^mnist-vae")).wait_for()
    _tab_to(page, "input[type=radio]")
    while page.evaluate("document.activeElement.value") != "mnist-vae":
        press("ArrowDown")
    _tab_to(page, "#feature")
    page.keyboard.type("slanted")
    press("Enter")
    page.wait_for_selector(".tile[data-drawn]")
    run = page.url.partition("#/")[2].partition("/")[0]
    page.wait_for_timeout(1200)
    _tab_to(page, ".tile")
    for _ in range(12):
        press("Space")
        for _ in range(4):
            press("ArrowRight")
    press("u")
    press("ArrowDown")
    press("Shift+ArrowRight")
    press("Shift+ArrowRight")
    press("x")
    press("Control+z")
    press("Control+Shift+z")
    told = saved(page, served, run)
    assert told["shows"] == 15 and told["unsure"] == 1 and told["without"] > 10, told
    page.locator('#tabs a[href$="/preview"]').focus()
    press("Enter")
    page.get_by_role("slider").first.wait_for()
    page.get_by_role("slider").first.focus()
    before = page.get_by_role("slider").first.get_attribute("aria-valuetext")
    press("Home")
    press("End")
    press("ArrowLeft")
    assert before and page.get_by_role("slider").first.get_attribute("aria-valuetext")
    page.get_by_role("button", name="Use this strength").focus()
    press("Enter")
    page.get_by_role("button", name="Unlearn", exact=True).wait_for()
    page.locator("summary").first.focus()
    press("Enter")
    page.get_by_label(re.compile("More steps")).focus()
    press("Control+a")
    page.keyboard.type("50")
    page.get_by_role("button", name="Unlearn", exact=True).focus()
    press("Enter")
    page.get_by_role("link", name="Compare before and after").wait_for()
    page.get_by_role("link", name="Compare before and after").focus()
    press("Enter")
    page.wait_for_selector(".compare-wall .cell")
    page.locator(".compare-wall .cell").first.focus()
    press("ArrowRight")
    press("Enter")
    expect(page.locator("dialog.big")).to_be_visible()
    press("ArrowRight")
    press("Escape")
    expect(page.locator("dialog.big")).not_to_be_visible()
    assert page.evaluate("document.activeElement.className") == "cell", "the focus comes back"


def _tab_to(page: Page, selector: str) -> None:
    """Tab until something that matches has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab never reaches {selector}")


def test_the_whole_way_with_a_finger_at_360_px(browser: Browser, served: Served) -> None:
    window = Watched(browser, served, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = window.page
    run = begin(page, served.address, "thin")
    page.wait_for_timeout(1200)
    for index in range(0, 12, 2):
        page.tap(f'.tile[data-index="{index}"]')
    page.tap('.tile[data-index="0"]')
    told = saved(page, served, run)
    assert told["shows"] == 5 and told["unsure"] == 1 and told["without"] >= 3, told
    for step in ("mark", "preview", "unlearn", "start"):
        page.goto(f"{served.address}#/{run}/{step}" if step != "start" else served.address + "#/start")
        page.wait_for_selector("h1")
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, step
    page.goto(f"{served.address}#/{run}/preview")
    unlearn(page, 20)
    page.get_by_role("link", name="Compare before and after").tap()
    page.wait_for_selector(".compare-wall .cell")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    window.close()


@pytest.fixture(scope="module")
def finished(served: Served) -> str:
    """A run with a judge, a copy and a report, made by the verbs in the page's folder."""
    folder = served.folder / "finished"
    workflow.sample(folder, "mnist-vae", o.SampleOptions(count=600))
    workflow.mark(folder, "slant", "slant", o.MarkOptions(per_side=40))
    workflow.find(folder, o.FindOptions(margin=0.5))
    workflow.unlearn(folder, o.UnlearnOptions(steps=40))
    workflow.evaluate(folder, o.EvaluateOptions(count=300))
    workflow.report(folder)
    return "finished"


def inaccessible(page: Page) -> list[str]:
    """What axe finds wrong with the page as it is now."""
    page.evaluate(Path(AXE_FILE_PATH).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({exclude: ['iframe']}, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})")
    return [f"{each['id']}: {[n['html'][:120] for n in each['nodes']][:3]}" for each in found["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 2560])
def test_every_step_is_accessible_and_fits(
    browser: Browser, served: Served, finished: str, scheme: str, width: int
) -> None:
    window = Watched(browser, served, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page, told = window.page, {}
    ready = {"start": "form", "mark": ".tile[data-drawn]", "preview": ".pairs canvas", "unlearn": ".verdict"}
    ready |= {"compare": ".cell", "study": "form"}
    for step, shown in ready.items():
        page.goto(f"{served.address}#/{finished}/{step}" if step != "start" else f"{served.address}#/start")
        page.wait_for_selector(shown)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, step
        told[step] = inaccessible(page)
    assert {step: problems for step, problems in told.items() if problems} == {}
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")
    window.close()


def test_a_strength_chosen_for_earlier_marks_is_not_offered(window: Watched, served: Served) -> None:
    page, run = window.page, begin(window.page, served.address, "upright")
    served.mark(run, [(i, "shows" if i % 5 == 0 else "without") for i in range(60)])
    page.goto(f"{served.address}#/{run}/preview")
    page.get_by_role("button", name="Use this strength").click()
    expect(page.get_by_text("The strength you chose")).to_be_visible()
    page.reload()
    expect(page.get_by_text("The strength you chose")).to_be_visible()
    served.mark(run, [(1, "shows")], first=60)
    page.reload()
    expect(page.get_by_role("link", name="Choose the way")).to_be_visible()
    expect(page.get_by_text("The strength you chose")).to_have_count(0)


def test_a_search_is_chosen_and_what_stays(browser: Browser, served: Served) -> None:
    for name, measured in (("leaning", "slant"), ("bold", "thickness")):
        workflow.sample(served.folder / name, "mnist-vae", o.SampleOptions(count=600))
        workflow.mark(served.folder / name, name, measured, o.MarkOptions(per_side=40))
        workflow.request(served.folder / name, name, "")  # nobody judges: no evaluation
    window = Watched(browser, served, viewport={"width": 360, "height": 740}, bypass_csp=True)
    page, named = window.page, f"{served.address}#/leaning"
    page.goto(f"{named}/preview")
    along = page.get_by_role("radio", name=re.compile("^Along one direction"))
    search = page.get_by_role("radio", name=re.compile("^Search through the generator"))
    expect(along).to_be_checked()
    page.get_by_role("slider").wait_for()
    along.focus()
    page.keyboard.press("ArrowDown")
    expect(search).to_be_checked()
    expect(page.get_by_role("slider")).to_have_count(0)
    expect(page.get_by_role("button", name="Use this strength")).to_have_count(0)
    page.get_by_role("checkbox", name=re.compile("^bold bold ")).check()
    targets = [*page.locator(".choice:visible").all(), page.get_by_role("button", name="Use this way")]
    assert all(box["height"] >= 44 for target in targets if (box := target.bounding_box()))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert inaccessible(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Use this way").click()
    expect(page.get_by_text("“Search through the generator”; bold stays as it is")).to_be_visible()
    page.locator("summary").first.click()
    expect(page.get_by_label(re.compile("More steps"))).to_have_value("4000")
    page.get_by_label(re.compile("More steps")).fill("20")
    page.get_by_role("button", name="Unlearn", exact=True).click()
    page.get_by_role("progressbar").wait_for()
    page.get_by_role("link", name="Compare before and after").wait_for(timeout=5 * MINUTE)  # a search is learnt
    expect(page.get_by_role("heading", name="How it was found")).to_be_visible()
    expect(page.get_by_text("kept as it is: digit, bold.")).to_be_visible()
    expect(page.get_by_role("link", name="Open the report")).to_have_count(0)
    made = Run(served.folder / "leaning")
    found, training = (made.read_facts(f"{part}.safetensors")["options"] for part in ("feature", "unlearned"))
    assert found["finder"] == "counterfactual" and found["keep"] == [f"bold={served.folder / 'bold/feedback.json'}"]
    assert (training["alpha"], training["steps"]) == (0.05, 20)
    page.evaluate("sessionStorage.clear()")  # as in another window
    page.goto(f"{named}/preview")
    page.reload()
    expect(search).to_be_checked()
    expect(page.get_by_role("checkbox", name=re.compile("^bold bold "))).to_be_checked()
    window.close()


def test_a_study_from_names_to_thanks(window: Watched, served: Served, finished: str) -> None:
    page = window.page
    page.goto(f"{served.address}#/{finished}/study")
    page.locator("textarea").fill("Ann\n<i>Bob</i>")
    page.locator("#count").fill("30")
    page.get_by_role("button", name="Make links").click()
    page.get_by_text("<i>Bob</i>").first.wait_for()
    links = [each["link"] for each in served.get(f"/api/runs/{finished}/study")["annotators"]]
    page.goto(served.address.rstrip("/") + links[1])
    page.wait_for_selector(".tile[data-drawn]")
    page.wait_for_timeout(1200)
    for index in (0, 3, 9):
        page.click(f'.tile[data-index="{index}"]')
    page.click('.tile[data-index="9"]')
    page.get_by_role("button", name="I am done").click()
    page.get_by_role("heading", name="Thank you").wait_for()
    bob = served.get(f"/api/runs/{finished}/study")["annotators"][1]
    assert bob["done"] and bob["marked"] == 3 and bob["looked"] == 30 and bob["seconds"] > 1, bob


def test_a_killed_server_is_waited_for(browser: Browser, tmp_path: Path) -> None:
    port = "0"
    with serving(tmp_path / "runs") as first:
        page = browser.new_page()
        run = begin(page, first.entrance, "seven")
        port = first.address.rstrip("/").rpartition(":")[2]
        page.click(tile(page, 3))
        saved(page, first, run)
        first.kill()
        page.click(tile(page, 4))
        expect(page.locator(".saved")).to_contain_text("Not saved yet: 1 mark")
    with serving(tmp_path / "runs", "--port", port) as second:
        wait(lambda: counted(second, run)["shows"] == 2, 60)
        expect(page.locator(".saved")).to_have_text("Saved")
        page.close()


def test_ten_thousand_pictures_are_quick(window: Watched, served: Served) -> None:
    page = window.page
    run = begin(page, served.address, "quick")
    for _ in range(8):  # 2,000 pictures are loaded
        page.mouse.wheel(0, 1400)
        page.wait_for_timeout(150)
    page.wait_for_selector(".tile[data-drawn]")
    clicks = page.evaluate(
        """async () => {
            const seen = [], tiles = [...document.querySelectorAll('.tile[data-drawn]')].slice(20, 60);
            for (const tile of tiles) {
                const began = performance.now();
                tile.click();
                await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
                seen.push([performance.now() - began, tile.ariaPressed]);
            }
            return seen;
        }"""
    )
    assert {pressed for _, pressed in clicks} == {"true"}
    assert statistics.median(took for took, _ in clicks) <= 60
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    while page.evaluate("Math.max(...[...document.querySelectorAll('.tile')].map(tile => tile.index))") < 10_000:
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.wait_for_timeout(50)
    assert page.locator(".tile").count() < 1000, "only what is near the screen is in the document"
    assert saved(page, served, run)["shows"] == 40


def test_the_page_is_light() -> None:
    import unfeature.web

    files = [path for path in (Path(unfeature.web.__file__).parent / "static").iterdir() if "annotate" not in path.name]
    assert sum(path.stat().st_size for path in files) <= 150_000


FACES = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.skipif("UNFEATURE_ASSETS" not in os.environ, reason="needs the public checkpoints: set UNFEATURE_ASSETS")
@pytest.mark.parametrize("name", ["face_vae64", "face_gan36"])
def test_the_whole_way_with_faces_of_a_file(window: Watched, served: Served, name: str) -> None:
    page = window.page
    page.goto(served.address)
    page.get_by_role("radio", name=re.compile("^Your own")).check()
    page.get_by_label("File or function").fill(f"{FACES / 'generators' / name}.py:load")
    page.get_by_label("What should disappear?").fill("bangs" if name == "face_vae64" else "orange light")
    page.get_by_role("button", name="Show pictures").click()
    page.wait_for_selector(".tile[data-drawn]")
    run = page.url.partition("#/")[2].partition("/")[0]
    if name == "face_vae64":
        page.wait_for_timeout(1200)
        for index in shown_by(f"{FACES / 'judges/celeba.py'}:a_Bangs", f"{FACES / 'generators' / name}.py:load", 120):
            page.click(tile(page, index))
            page.wait_for_timeout(100)
    else:
        page.get_by_role("button", name="Help me").click()
        page.set_input_files("#marks-file", FACES / "marks/face_gan36-orange.csv")
    told = wait(lambda: (found := counted(served, run))["without"] > 10 and found["shows"] > 10 and found)
    page.locator('#tabs a[href$="/preview"]').click()
    page.wait_for_selector(".pairs canvas")
    expect(page.get_by_text("not a proof").first).to_be_visible()
    unlearn(page, 20)
    page.get_by_role("link", name="Compare before and after").click()
    page.wait_for_selector(".compare-wall .cell")
    assert served.get(f"/api/runs/{run}")["stage"] == "trained" and told["shows"] > 10


def shown_by(judge: str, generator: str, count: int) -> list[int]:
    """Which of the wall's first pictures a judge finds to show it."""
    made = load_generator(generator)
    _, images = drawn(made, stream("gallery", 0, 0, count))
    scores = load_judge(judge, made, 0, 0.1).score(images)
    return [index for index, score in enumerate(scores.tolist()) if score >= 0.5]
