"""Attempts to bring the feature back. Adding one: a file with an Attack and a line here.

Nothing here imports torch.
"""

from __future__ import annotations

ATTACKS: dict[str, str] = {
    "latent-search": "unfeature.attacks.latent_search:LatentSearch",
    "inversion": "unfeature.attacks.inversion:Inversion",
    "inner-search": "unfeature.attacks.inner_search:InnerSearch",
    "relearning": "unfeature.attacks.relearning:Relearning",
    "fine-tuning": "unfeature.attacks.fine_tuning:FineTuning",
    "interpolation": "unfeature.attacks.interpolation:Interpolation",
    "pruning": "unfeature.attacks.pruning:Pruning",
    "quantisation": "unfeature.attacks.quantisation:Quantisation",
    "encoder-path": "unfeature.attacks.encoder_path:EncoderPath",
}
"""Name -> Attack; constructed as `ATTACKS[name](options, seed=)`."""
