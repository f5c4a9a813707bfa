"""Ways to unlearn. Adding one: a file with an Unlearner and a line here."""

from __future__ import annotations

UNLEARNERS: dict[str, str] = {
    "distillation": "unfeature.unlearners.distillation:Distillation",
    "instant": "unfeature.unlearners.instant:InstantEdit",
    "negatives": "unfeature.unlearners.negatives:Negatives",
    "ascent": "unfeature.unlearners.ascent:Ascent",
    "ascent-descent": "unfeature.unlearners.ascent_descent:AscentDescent",
    "surgery": "unfeature.unlearners.surgery:Surgery",
    "orthogonal": "unfeature.unlearners.orthogonal:Orthogonal",
    "amnesia": "unfeature.unlearners.amnesia:Amnesia",
    "repulsion": "unfeature.unlearners.repulsion:Repulsion",
    "saliency": "unfeature.unlearners.saliency:Saliency",
}
"""Name -> Unlearner; constructed as `UNLEARNERS[name](options, seed=, checkpoint=, stop=)`."""
