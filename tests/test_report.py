"""The report as a reader gets it: self-contained, safe, the same bytes again, whatever is missing."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from unfeature.artifacts import Distribution, Evaluation, GeneratorSpec, Preview, Row, Score, StepRecord
from unfeature.reports import Pictures, render_html, render_markdown
from unfeature.reports.pictures import BUDGET

HOSTILE = '<script>alert("x")</script>|`**_$x$ & \'"'
VOID = {"meta", "img", "br", "path", "use", "rect", "link", "input", "hr"}


def _scores(ratio: float, fd: float, coverage: float, *, paired: bool, change: float = 0.0) -> dict[str, Score]:
    digits = "mnist-digits"
    scores = [
        Score.share("target_ratio", round(ratio * 10_000), 10_000, higher_is_better=False),
        Score(f"fd10k_{digits}", fd, fd * 0.96, fd * 1.04, 10_000, "", False),
        Score(f"fd10k_{digits}_to_all", fd * 1.4, fd * 1.3, fd * 1.5, 10_000, "", False),
        Score(f"kid10k_{digits}", fd / 3000, fd / 4000, fd / 2500, 10_000, "", False),
        Score(f"kid10k_{digits}_to_all", fd / 2000, fd / 2500, fd / 1500, 10_000, "", False),
        Score(f"precision2k_{digits}", 0.81, 0.79, 0.83, 2000, "", True),
        Score(f"recall2k_{digits}", 0.74, 0.72, 0.76, 2000, "", True),
        Score(f"density2k_{digits}", 0.97, 0.94, 1.0, 2000, "", True),
        Score(f"coverage2k_{digits}", coverage, coverage * 0.98, min(1.0, coverage * 1.02), 2000, "", True),
        Score(f"is10k_{digits}", 7.42, 7.31, 7.53, 10_000, "", True),
    ]
    if paired:
        scores += [
            Score("drift_had", change * 4, change * 3.9, change * 4.1, 1012, "", None),
            Score("drift_never_had", change, change * 0.95, change * 1.05, 8988, "", False),
            Score("drift_untouched", change / 2, change * 0.45, change * 0.55, 6731, "", False),
            Score.share("flips_had", round(change * 8000), 1012),
            Score.share("flips_never_had", round(change * 20_000), 8988),
            Score.share("flips_untouched", round(change * 6000), 6731),
            Score.share("flips_edited", round(change * 12_000), 3269),
        ]
    return {score.name: score for score in scores}


def _distribution(centre: float, cap: float | None = None) -> Distribution:
    values = np.random.default_rng(3).gamma(9.0, centre / 9.0, 10_000)
    values = values if cap is None else np.where(values > cap, values * 0.75, values)
    edges = np.linspace(0.5, 7.0, 53)
    quantiles = {f"{q:.2f}": float(np.quantile(values, q)) for q in (0.01, 0.1, 0.5, 0.9, 0.99)}
    counts, _ = np.histogram(values, edges)
    return Distribution("px", 4.2, tuple(edges.tolist()), tuple(counts.tolist()), quantiles)


def fake_evaluation() -> Evaluation:
    """A successful thickness run on a digit VAE, with plausible figures."""
    rows = (
        Row("original", "the generator as it came", _scores(0.0994, 9.8, 0.86, paired=True), _distribution(3.0)),
        Row("filter", "only pictures the judge finds clean", _scores(0.0, 0.61, 0.91, paired=False)),
        Row("teacher", "the original on edited latents", _scores(0.0026, 3.1, 0.88, paired=True, change=0.012),
            _distribution(3.0, 3.8)),
        Row("unlearned", "the new generator", _scores(0.003, 3.4, 0.87, paired=True, change=0.013),
            _distribution(2.98, 3.7)),
    )  # fmt: skip
    floor = {k: v for k, v in _scores(0.0, 0.55, 0.9, paired=False).items() if k.startswith(("fd", "kid"))}
    return Evaluation(
        feature="thick strokes",
        generator=GeneratorSpec("mnist-vae", "0123456789abcdef", 16, (1, 28, 28), "Apache-2.0"),
        result=GeneratorSpec("mnist-vae-unlearned", "fedcba9876543210", 16, (1, 28, 28), "Apache-2.0"),
        judge={"name": "thickness", "kind": "measurement", "cut": 4.2, "unit": "px", "guided_by": "500 marks"},
        extractor={"name": "mnist-digits", "class_word": "digit", "hash": "9f" * 32},
        n=10_000,
        seeds={"gallery": [0, 4999], "training": [1_000_000, 1_051_199], "evaluation": [90_000_000, 90_009_999]},
        wanted_ratio=0.0042,
        rows=rows,
        floor=floor,
        collateral={"edit": {"flips": 120, "n": 3269}, "placebo": {"flips": 44, "n": 3269}, "only_edit": 101,
                    "only_placebo": 25, "mcnemar_p": 3e-12},
        options={"alpha": 2.0, "learning_rate": 1e-3, "batch": 64, "finder": {"threshold": "pooled", "margin": 0.5}},
        versions={"unfeature": "0.1.0", "torch": "2.13.0+cpu", "python": "3.11.2"},
    )  # fmt: skip


def fake_preview() -> Preview:
    """What the teacher promised before training."""
    return Preview(
        "thick strokes", "mnist-vae@0123456789abcdef", 2000, 0.5, -0.13, Score.share("rewritten", 655, 2000),
        Score("drift_rest", 0.011, 0.010, 0.012, 1800), Score.share("flips_rest", 52, 1800),
        Score.share("target_ratio", 199, 2000),
        Score.share("target_ratio", 5, 2000),
    )  # fmt: skip


def fake_log() -> list[StepRecord]:
    """800 steps; distance every 50, target ratio every 100."""
    log = []
    for step in range(1, 801):
        fall, noise = float(np.exp(-step / 150)), 1 + 0.08 * float(np.sin(step * 1.7))
        ratio = Score.share("target_ratio", round(2000 * (0.003 + 0.08 * fall)), 2000) if step % 100 == 0 else None
        log.append(
            StepRecord(
                step, 3000, 0.2 * fall * noise + 0.03, 0.05 * fall * noise + 0.008, 0.1 * fall * noise + 0.015,
                0.01 + 0.01 * fall * noise, 0.006 + 0.03 * fall if step % 50 == 0 else None, ratio,
                "the target ratio is surely below the wanted one" if step == 800 else "",
            )
        )  # fmt: skip
    return log


def fake_pictures(m: int = 12, side: int = 28, *, colour: bool = False) -> Pictures:
    """Noise of the right shapes."""
    shape = (m, side, side, 3) if colour else (m, side, side)
    return Pictures(*np.random.default_rng(0).integers(0, 256, (6, *shape), dtype=np.uint8))


FACTS = {
    "command": "unfeature demo --feature thickness",
    "feedback": {"positives": 500, "negatives": 500, "source": "simulated: thickness"},
    "seconds": 17.25,
    "device": "cpu",
}


class _Outline(HTMLParser):
    """Elements that close, ids, and everything that could lead out of the file."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.outside: list[str] = []
        self.tags: list[str] = []
        self.alts: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in values:
            self.ids.append(str(values["id"]))
        if tag == "img":
            self.alts.append(values.get("alt"))
        links = (str(value) for name, value in attrs if name in ("src", "href", "srcset", "action", "data"))
        self.outside += [link for link in links if not link.startswith(("data:image/png;base64,", "#"))]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, tag


def _outline(html: str) -> _Outline:
    outline = _Outline()
    outline.feed(html)
    outline.close()
    assert outline.open == []
    return outline


@pytest.fixture(scope="module")
def html() -> str:
    return render_html(fake_evaluation(), fake_preview(), fake_log(), fake_pictures(), FACTS)


def test_page_is_one_file_that_asks_nobody(html: str) -> None:
    outline = _outline(html)
    assert outline.outside == []
    assert not re.search(r"url\((?!#)|@import|https?://", html)
    assert "script" not in outline.tags
    assert "default-src 'none'" in html
    assert len(html.encode()) < 600_000


def test_page_has_a_sound_structure(html: str) -> None:
    outline = _outline(html)
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.tags.count("h1") == 1
    assert outline.tags.count("img") == 72
    assert all(outline.alts)
    assert outline.tags.count("caption") == outline.tags.count("table") == 3
    assert set(re.findall(r'aria-labelledby="([^"]+)"', html)) <= set(outline.ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', html)) <= set(outline.ids)
    assert html.count("<svg viewBox") == 4
    assert not re.search(r"#0102", html), "every stand-in colour became a variable of the page"


def test_page_says_what_matters_first(html: str) -> None:
    order = ["Removed</strong>", "What was asked", "Before and after", "The figures", "The curves", "The fine print"]
    places = [html.index(text) for text in order]
    assert places == sorted(places)
    for text in (
        "500 pictures with it",
        "simulated: thickness",
        "fedcba9876543210",
        "9f" * 32,
        "finder: margin",
        "17.25",
        "They had the feature, and the edit moves them.",
        "They never had the feature, and the edit leaves them alone.",
    ):
        assert text in html


def test_pictures_that_the_edit_reaches_all_the_same_have_a_row(html: str) -> None:
    assert html.index('id="edited"') < html.index('id="moved"') < html.index('id="untouched"')
    none = np.zeros((0,), dtype=np.uint8)
    page = render_html(fake_evaluation(), None, [], dataclasses.replace(fake_pictures(), moved_before=none,
                       moved_after=none), {})  # fmt: skip
    assert 'id="moved"' not in page


def test_same_input_gives_the_same_bytes(html: str) -> None:
    assert html == render_html(fake_evaluation(), fake_preview(), fake_log(), fake_pictures(), FACTS)


def test_hostile_words_stay_words() -> None:
    shape = dataclasses.replace(_distribution(3), unit=HOSTILE)
    evaluation = dataclasses.replace(
        fake_evaluation(), feature=HOSTILE, options={HOSTILE: HOSTILE}, judge={"name": HOSTILE},
        rows=tuple(dataclasses.replace(row, about=HOSTILE, distribution=shape) for row in fake_evaluation().rows),
    )  # fmt: skip
    facts = {"command": HOSTILE, "feedback": {"source": HOSTILE}, HOSTILE: HOSTILE}
    page = render_html(evaluation, fake_preview(), fake_log(), fake_pictures(), facts)
    assert "script" not in _outline(page).tags
    assert "&lt;script&gt;" in page
    text = render_markdown(evaluation, fake_preview(), fake_log(), fake_pictures(), facts)
    outside_code = re.sub(r"(`+).*?\1", "", text)
    assert "<script>" not in outside_code
    assert all(len(re.findall(r"(?<!\\)\|", line)) in (5, 6, 7) for line in text.splitlines() if line.startswith("|"))


def test_everything_optional_may_be_missing() -> None:
    bare = dataclasses.replace(
        fake_evaluation(), floor={}, collateral={}, options={}, versions={},
        rows=tuple(dataclasses.replace(row, distribution=None) for row in fake_evaluation().rows),
    )  # fmt: skip
    nothing = Pictures(*(np.zeros((0,), dtype=np.uint8) for _ in range(6)))
    page = render_html(bare, None, [], nothing, {})
    assert _outline(page).tags.count("img") == 0
    assert "The curves" not in page
    assert "Before and after" not in page
    assert "The figures" in render_markdown(bare, None, [], nothing, {})


def test_one_step_and_no_judge_still_draw() -> None:
    record = StepRecord(1, 10, 0.0, 0.0, 0.0, 0.0)
    assert _outline(render_html(fake_evaluation(), fake_preview(), [record], fake_pictures(0), {})).open == []


def test_options_left_unset_are_left_out() -> None:
    options = {"find": {"guide": "", "keep": [], "margin": None, "samples": 0, "relative": False}}
    text = render_markdown(dataclasses.replace(fake_evaluation(), options=options), None, [], fake_pictures(0), {})
    told = text[text.index("### Options") : text.index("### Versions")]
    assert told.split("\n")[2:-2] == ["- find: samples: 0", "- find: relative: no"]


def test_a_preview_whose_pictures_all_showed_it_tells_of_no_others() -> None:
    none = Score.share("rest", 0, 0)
    preview = dataclasses.replace(fake_preview(), drift_rest=none, flips_rest=none)
    text = render_markdown(fake_evaluation(), preview, fake_log(), fake_pictures(), FACTS)
    assert "of the latents; all of the pictures showed the feature before. 0.25 %" in text


def test_markdown_has_every_row_and_score() -> None:
    evaluation = fake_evaluation()
    odd = dataclasses.replace(evaluation.row("unlearned"), scores={
        **evaluation.row("unlearned").scores, "a_new_score": Score("a_new_score", 3.0, 2.0, 4.0, 7, "px", True, "odd")
    })  # fmt: skip
    evaluation = dataclasses.replace(evaluation, rows=(*evaluation.rows[:3], odd, Row("extra", "", {})))
    text = render_markdown(evaluation, fake_preview(), fake_log(), fake_pictures(), FACTS)
    for name in ("Original", "Rejection filter", "Teacher (latent filter)", "Unlearned", "Floor", "extra"):
        assert f"**{name}**" in text
    for row in evaluation.rows:
        assert all(f"`{name}`" in text for name in row.scores)
    assert "3.00 px<br>2.00 to 4.00 px<br>n = 7" in text
    assert text.index("## The fine print") > text.index("## Every figure")


def test_a_figure_without_an_interval_says_why() -> None:
    scores = (
        Score("coverage500_mnist-digits", 0.954, 0.954, 0.954, 500, note="mean of 1 disjoint blocks of 500; one block "
              "gives no interval"),
        Score("fd12_mnist-digits", 3.5, 3.5, 3.5, 12, note="to 12 samples; too few images for an interval"),
        Score("drift_untouched", 0.0, 0.0, 0.0, 300),
        Score("drift_had", 0.1, 0.1, 0.1, 1),
    )  # fmt: skip
    row = dataclasses.replace(fake_evaluation().row("unlearned"), scores={
        **fake_evaluation().row("unlearned").scores, **{score.name: score for score in scores}
    })  # fmt: skip
    evaluation = dataclasses.replace(fake_evaluation(), rows=(*fake_evaluation().rows[:3], row))
    text = render_markdown(evaluation, None, [], fake_pictures(), {})
    told = {
        "95.4 %": ("one block", 500),
        "3.50": ("too few images", 12),
        "0 %": ("no spread", 300),
        "10.0 %": ("one picture", 1),
    }
    for value, (why, n) in told.items():
        assert f"{value}<br>no interval: {why}<br>n = {n}" in text


def test_other_extractors_and_sizes_are_understood() -> None:
    rows = []
    for row in fake_evaluation().rows:
        names = {name: name.replace("10k_mnist-digits", "500_faces").replace("2k_mnist-", "1k_") for name in row.scores}
        scores = [dataclasses.replace(score, name=names[name]) for name, score in row.scores.items()]
        rows.append(dataclasses.replace(row, scores={score.name: score for score in scores}))
    evaluation = dataclasses.replace(fake_evaluation(), rows=tuple(rows), extractor={"name": "faces"}, floor={})
    page = render_html(evaluation, None, [], fake_pictures(), {})
    assert "Other figures" not in page
    assert "changed class" not in page and "flips_untouched" not in page, "its classes are not those of the pictures"
    assert "placebo" not in page and "fd500_faces_to_all" in page
    own = dataclasses.replace(evaluation, extractor={"name": "faces", "class_word": "hair"})
    page = render_html(own, None, [], fake_pictures(), {})
    assert "changed hair" in page and "flips_untouched" in page and "by a placebo" in page


def test_large_pictures_are_shrunk_to_fit() -> None:
    page = render_html(fake_evaluation(), None, [], fake_pictures(12, 300, colour=True), {})
    assert len(page) < BUDGET + 150_000
