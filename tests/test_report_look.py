"""Pictures that fit, and colours that can be read."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import pytest

from unfeature.errors import ShapeError
from unfeature.reports import Pictures


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        ((2, 28, 28), np.float32, "uint8"),
        ((2, 1, 28, 28), np.uint8, "(m, h, w, 3)"),
        ((3, 28, 28), np.uint8, "expected pairs"),
    ],
)
def test_wrong_pictures_are_refused(shape: tuple[int, ...], kind: type, message: str) -> None:
    good = np.zeros((2, 28, 28), dtype=np.uint8)
    with pytest.raises(ShapeError, match=re.escape(message)):
        Pictures(good, np.zeros(shape, dtype=kind), good, good, good, good)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_wcag_aa_light_dark_and_printed() -> None:
    style = files("unfeature.reports").joinpath("page.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    schemes = [dict(re.findall(r"--([a-z-]+): (#\w{6})", block)) for block in blocks]
    assert len(schemes) == 3
    for colours in schemes:
        pairs = [(text, paper, 4.5) for text in ("ink", "ink-soft") for paper in ("paper", "panel")]
        pairs += [(f"{status}", f"{status}-paper", 4.5) for status in ("good", "fair", "bad")]
        pairs += [("ink", f"{status}-paper", 4.5) for status in ("good", "fair", "bad")] + [("unlearned", "paper", 4.5)]
        pairs += [(line, "paper", 3.0) for line in ("original", "teacher")]
        for text, paper, least in pairs:
            light, dark = sorted((_luminance(colours[text]), _luminance(colours[paper])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= least, (text, paper)
