"""The verbs. Each works on a run folder: reads what earlier verbs wrote, writes its own, and loses nothing.

The faces (command line, page) call these and nothing deeper.
"""

from unfeature.presets import read_options
from unfeature.workflow.attacking import attack
from unfeature.workflow.benching import bench, read_bench
from unfeature.workflow.benching import cells as bench_cells
from unfeature.workflow.checking import check
from unfeature.workflow.dossiers import dossier, verify
from unfeature.workflow.exporting import apply, export
from unfeature.workflow.finding import find
from unfeature.workflow.marking import fix_cut, mark, request, sample, versions
from unfeature.workflow.proving import evaluate, report
from unfeature.workflow.reverting import revert
from unfeature.workflow.studying import study_feedback, study_outcome, study_unlearn
from unfeature.workflow.training import preview, unlearn, wanted_ratio
from unfeature.workflow.whole import run

__all__ = [
    "apply",
    "attack",
    "bench",
    "bench_cells",
    "check",
    "dossier",
    "evaluate",
    "export",
    "find",
    "fix_cut",
    "mark",
    "preview",
    "read_bench",
    "read_options",
    "report",
    "request",
    "revert",
    "run",
    "sample",
    "study_feedback",
    "study_outcome",
    "study_unlearn",
    "unlearn",
    "verify",
    "versions",
    "wanted_ratio",
]
