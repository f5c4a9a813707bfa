"""What every attack is made with."""

from __future__ import annotations

from unfeature.options import AttackOptions


class Attacking:
    """Constructed as the table says; a subclass has `run`."""

    def __init__(self, options: AttackOptions, *, seed: int = 0) -> None:
        self.options, self.seed = options, seed
