"""How quick and how light is the page, in a real browser?

    UNFEATURE_ASSETS=../shared/assets python benchmarks/page.py

click        ms from a click until the picture shows its mark, 2,000 pictures loaded; median of 40; bar 60
first wall   s from "Show pictures" until the first pictures stand there, mnist-vae; bar 2
slider       ms from a move of the slider until new pairs stand there; median; bars 300 (mnist-vae), 1,500 (face_vae64)
weight       bytes that a browser loads before any picture; bar 150,000
memory       MB that the server holds after 10,000 pictures, and its painter, which has torch; bar 400 for the server
scrolling    ms a frame, median and 95th percentile, past 10,000 pictures

Writes benchmarks/results/page.json.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from unfeature import workflow

HERE = Path(__file__).parent
CLICKS = """async () => {
    const took = [];
    for (const tile of [...document.querySelectorAll('.tile[data-drawn]')].slice(20, 60)) {
        const began = performance.now();
        tile.click();
        await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
        took.push(performance.now() - began);
    }
    return took;
}"""
SLIDER = """async () => {
    const slider = document.querySelector('#strength'), took = [], last = Number(slider.max);
    const figure = document.querySelector('figure.pictures');
    for (const place of [0, last, Math.floor(last / 2), 1, last - 1]) {
        slider.value = place;
        const began = performance.now();
        slider.dispatchEvent(new Event('input'));
        while (figure.hasAttribute('aria-busy')) await new Promise(done => requestAnimationFrame(done));
        took.push(performance.now() - began);
    }
    return took;
}"""
FRAMES = """async () => {
    const took = [];
    let last = performance.now();
    while (Math.max(...[...document.querySelectorAll('.tile')].map(tile => tile.index)) < 10000) {
        scrollBy(0, 160);
        await new Promise(done => requestAnimationFrame(done));
        const now = performance.now();
        took.push(now - last);
        last = now;
    }
    return took;
}"""


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """Address and process id of a page."""
    command = [sys.executable, "-m", "unfeature", "open", str(folder), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        time.sleep(8)  # torch is imported while a person would still read the first page
        yield found.group(), process.pid
    finally:
        process.terminate()
        process.wait()


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found.group(1)) / 1000


def children(pid: int) -> list[int]:
    """Process ids."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def begin(page: Page, address: str, generator: str) -> float:
    """A run by the start page; seconds until its first pictures stand there."""
    page.goto(address + "#/start")
    if (HERE / "generators").as_posix() in generator:
        page.get_by_role("radio", name=re.compile("^Your own")).check()
        page.fill("#path", generator)
    else:
        page.get_by_role("radio", name=re.compile(f"^{generator}")).check()
    page.get_by_label("What should disappear?").fill("benchmark")
    began = time.perf_counter()
    page.get_by_role("button", name="Show pictures").click()
    page.wait_for_selector(".tile[data-drawn]")
    return time.perf_counter() - began


def sliding(page: Page, address: str) -> dict[str, float]:
    """Median ms from slider to pairs, of pairs not asked for before, 30 of 200 pictures being marked."""
    for index in range(0, 30):
        page.click(f'.tile[data-index="{index}"]')
    page.wait_for_timeout(1500)
    page.keyboard.press("PageDown")
    page.wait_for_timeout(1500)
    last = page.locator(".tile[data-drawn]").last
    last.click()
    page.wait_for_timeout(1000)
    page.locator('#tabs a[href$="/preview"]').click()
    page.wait_for_selector("#strength", timeout=120_000)
    page.wait_for_timeout(1500)
    took = page.evaluate(SLIDER)
    return {"median_ms": statistics.median(took), "worst_ms": max(took)}


def main() -> None:
    """Measure, print and write."""
    found: dict[str, Any] = {"versions": workflow.versions()}
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder) / "runs") as (address, pid),
        sync_playwright() as p,
    ):
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        weights: list[int] = []
        page.on("response", lambda answer: weights.append(_weight(answer)) if ".png" not in answer.url else None)
        found["first_wall_s"] = begin(page, address, "mnist-vae")
        page.wait_for_timeout(500)
        found["weight_bytes"] = sum(weights)
        found["slider"] = {"mnist-vae": sliding(page, address)}
        page.goto(address + "#/start")
        begin(page, address, "mnist-vae")
        while page.evaluate("Math.max(...[...document.querySelectorAll('.tile')].map(tile => tile.index))") < 2000:
            page.mouse.wheel(0, 900)
            page.wait_for_timeout(80)
        page.wait_for_timeout(500)
        found["click_ms"] = statistics.median(page.evaluate(CLICKS))
        page.wait_for_timeout(500)
        frames = sorted(page.evaluate(FRAMES))
        found["scrolling"] = {"median_ms": statistics.median(frames), "p95_ms": frames[int(0.95 * len(frames))]}
        found["memory_mb"] = {"server": megabytes(pid), "painter": max(map(megabytes, children(pid)))}
        if "UNFEATURE_ASSETS" in os.environ:
            begin(page, address, f"{HERE / 'generators/face_vae64.py'}:load")
            found["slider"]["face_vae64"] = sliding(page, address)
        browser.close()
    (HERE / "results/page.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def _weight(answer: Any) -> int:
    return len(answer.body()) if answer.status == 200 else 0


if __name__ == "__main__":
    main()
