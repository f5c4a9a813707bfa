"""Attempts to bring the feature back. Adding one: a file with an Attack and a line here.

Nothing here imports torch.
"""

from __future__ import annotations

ATTACKS: dict[str, str] = {
    "latent-search": "unfeature.attacks.latent_search:LatentSearch",
}
"""Name -> Attack; constructed as `ATTACKS[name](options, seed=)`."""
