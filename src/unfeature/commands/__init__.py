"""The commands: parse, call a verb of `unfeature.workflow`, print. No arithmetic; torch only inside a command."""

from unfeature.commands.assets import assets_
from unfeature.commands.attacks import attack_
from unfeature.commands.bench import bench_
from unfeature.commands.dossiers import dossier_, verify_
from unfeature.commands.exports import apply_, export_, revert_
from unfeature.commands.job import (
    demo_,
    evaluate_,
    find_,
    list_,
    mark_,
    preview_,
    report_,
    run_,
    sample_,
    unlearn_,
)
from unfeature.commands.models import check_, trust_
from unfeature.commands.page import open_
from unfeature.commands.plan import plan_

__all__ = [
    "apply_",
    "assets_",
    "attack_",
    "bench_",
    "check_",
    "demo_",
    "dossier_",
    "evaluate_",
    "export_",
    "find_",
    "list_",
    "mark_",
    "open_",
    "plan_",
    "preview_",
    "report_",
    "revert_",
    "run_",
    "sample_",
    "trust_",
    "unlearn_",
    "verify_",
]
