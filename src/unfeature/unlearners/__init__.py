"""Ways to unlearn. Adding one: a file with an Unlearner and a line here."""

from __future__ import annotations

UNLEARNERS: dict[str, str] = {
    "distillation": "unfeature.unlearners.distillation:Distillation",
    "instant": "unfeature.unlearners.instant:InstantEdit",
}
"""Name -> Unlearner; constructed as `UNLEARNERS[name](options, seed=, checkpoint=, stop=)`."""
