"""For everybody who adds a generator, finder, unlearner, metric, attack, judge: a tiny world, and checks."""

from __future__ import annotations

from unfeature.testing.checks import (
    check_attack,
    check_feature,
    check_finder,
    check_judge,
    check_metric,
    check_unlearner,
)
from unfeature.testing.generators import check_generator, findings
from unfeature.testing.remedies import Finding
from unfeature.testing.tiny import TinyExtractor, TinyGenerator, TinyJudge, TinySize, tiny_copy, tiny_marks, tiny_scene

__all__ = [
    "Finding",
    "TinyExtractor",
    "TinyGenerator",
    "TinyJudge",
    "TinySize",
    "check_attack",
    "check_feature",
    "check_finder",
    "check_generator",
    "check_judge",
    "check_metric",
    "check_unlearner",
    "findings",
    "tiny_copy",
    "tiny_marks",
    "tiny_scene",
]
