"""The pictures of the page for README.md and docs:  python docs/images/page.py

Serves a folder of its own, marks thick strokes as the measurement sees them, and takes page-*.png with a chromium.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from unfeature import options as o
from unfeature import workflow

HERE = Path(__file__).parent
STEPS = {"mark": ".tile[data-drawn]", "preview": "#strength", "compare": ".cell", "study": "form"}


def prepared(runs: Path) -> None:
    """A run that is marked, trained and proved."""
    run = runs / "thick-strokes"
    workflow.sample(run, "mnist-vae")
    workflow.mark(run, "thick strokes", "thickness", o.MarkOptions(per_side=100))
    workflow.find(run, o.FindOptions(margin=0.5))
    workflow.unlearn(run)
    workflow.evaluate(run, o.EvaluateOptions(count=2000))
    workflow.report(run)


def take(page: Page, address: str) -> None:
    """A screenshot of every step."""
    for step, ready in STEPS.items():
        page.goto(f"{address}#/thick-strokes/{step}")
        page.wait_for_selector(ready, timeout=120_000)
        page.wait_for_timeout(2500)
        page.screenshot(path=HERE / f"page-{step}.png")
    page.goto(f"{address}#/start")
    page.wait_for_selector("form.new")
    page.screenshot(path=HERE / "page-start.png")


def main() -> None:
    """Serve, look, stop."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no chromium found: the pictures were left as they were")
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        prepared(runs)
        command = [sys.executable, "-u", "-m", "unfeature", "open", str(runs), "--no-browser"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:  # noqa: S603
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found, "it says where it is"
            flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path=chromium, args=flags)
            take(browser.new_page(viewport={"width": 1100, "height": 760}), found.group())
            browser.close()
            server.terminate()


if __name__ == "__main__":
    main()
