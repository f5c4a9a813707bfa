"""What is measured, and with what: tables of "module:attribute", read by `unfeature.tables.resolve`.

Nothing here imports torch.
"""

from __future__ import annotations

METRICS: dict[str, str] = {
    "target-ratio": "unfeature.metrics.ratio:TargetRatio",
    "inception-score": "unfeature.metrics.fidelity:InceptionScore",
    "frechet-distance": "unfeature.metrics.fidelity:FrechetDistance",
    "kernel-distance": "unfeature.metrics.fidelity:KernelDistance",
    "precision-recall": "unfeature.metrics.precision_recall:PrecisionRecall",
    "drift": "unfeature.metrics.collateral:Drift",
    "class-flips": "unfeature.metrics.collateral:ClassFlips",
    "attribute-flips": "unfeature.metrics.collateral:AttributeFlips",
    "edit-made": "unfeature.metrics.edits:EditMade",
    "perceptual-distance": "unfeature.metrics.collateral:PerceptualDistance",
}
"""name -> class, constructed as `resolve("metric", METRICS, name)(reference)`."""

MEASUREMENTS: dict[str, str] = {
    "thickness": "unfeature.metrics.strokes:Thickness",
    "slant": "unfeature.metrics.strokes:Slant",
}
"""name -> class, constructed without arguments."""

EXTRACTORS: dict[str, str] = {
    "mnist-digits": "unfeature.metrics.digits:load_digit_extractor",
    "mnist-gradients": "unfeature.metrics.gradients:load_gradient_extractor",
    "squeezenet": "unfeature.metrics.squeezenet:load_squeezenet",
}
"""name -> function without arguments that loads it."""
