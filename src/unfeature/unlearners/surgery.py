"""Gradient surgery: forgetting may not undo what is to stay, where the two gradients conflict.

Yu, Kumar, Gupta, Levine, Hausman, Finn: Gradient Surgery for Multi-Task Learning (NeurIPS 2020), "PCGrad". With F and R
the gradients over all weights of the two terms of `ascent_descent`, - alpha sim(z) |g - f_8| and (1 - sim(z)) |g - f|:

    F' = F - (<F, R> / |R|^2) R  where <F, R> < 0, else F        Adam gets F' + R

Where we depart: they project each task's gradient on the other's; here only the forgetting one gives way. Adam scales
what it gets weight by weight, so the promise holds for the gradient and not for the step.
"""

from __future__ import annotations

from typing import ClassVar

from unfeature.unlearners.ascent_descent import AscendingDescending
from unfeature.unlearners.bank import Batch
from unfeature.unlearners.loop import Gradient
from unfeature.unlearners.training import Training


def dot(one: Gradient, other: Gradient) -> float:
    """<one, other> over all weights, in float64."""
    return sum(float((value.double() * other[name].double()).sum()) for name, value in one.items())


def projected(forget: Gradient, retain: Gradient, *, always: bool) -> Gradient:
    """`forget` without its part along `retain`, where that part points against it, or always; new tensors."""
    along, length = dot(forget, retain), dot(retain, retain)
    if length == 0 or (along >= 0 and not always):
        return dict(forget)
    return {name: (value.double() - along / length * retain[name].double()).to(value) for name, value in forget.items()}


class Operating(AscendingDescending):
    """The same two terms, each with a gradient of its own."""

    always: ClassVar[bool] = False
    """Whether the forgetting gradient is projected where it does not conflict, too."""

    def descend(self, batch: Batch) -> dict[str, float]:
        """F' + R."""
        told, away = self.gradient(batch, "unlearn")
        _, retain = self.gradient(batch, "reconstruction")
        forget = {name: -self.options.alpha * value for name, value in away.items()}
        kept = projected(forget, retain, always=self.always)
        self.put({name: value + retain[name] for name, value in kept.items()})
        return told


class Surgery(Training):
    """Unlearner: ascent and descent with PCGrad."""

    loop = Operating
