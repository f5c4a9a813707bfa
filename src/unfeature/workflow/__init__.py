"""The verbs. Each works on a run folder: reads what earlier verbs wrote, writes its own, and loses nothing.

The faces (command line, page) call these and nothing deeper.
"""

from unfeature.workflow.checking import check
from unfeature.workflow.exporting import apply, export
from unfeature.workflow.marking import find, mark, sample, versions
from unfeature.workflow.proving import evaluate, report
from unfeature.workflow.training import preview, unlearn, wanted_ratio
from unfeature.workflow.whole import read_options, run

__all__ = [
    "apply",
    "check",
    "evaluate",
    "export",
    "find",
    "mark",
    "preview",
    "read_options",
    "report",
    "run",
    "sample",
    "unlearn",
    "versions",
    "wanted_ratio",
]
