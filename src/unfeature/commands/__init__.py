"""The commands: parse, call a verb of `unfeature.workflow`, print. No arithmetic; torch only inside a command."""

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

__all__ = [
    "demo_",
    "evaluate_",
    "find_",
    "list_",
    "mark_",
    "preview_",
    "report_",
    "run_",
    "sample_",
    "unlearn_",
]
