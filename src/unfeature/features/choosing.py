"""What to take of teachers of many strengths: their Pareto front, the gentlest that removes enough, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

SHOWN = 6
"""Points of a rough front that are measured."""

TEACHERS = 0.3
"""Of the wanted ratio, what a teacher may leave by estimate: its copy leaves more. Without that, copies from 500 marks
a side left 0.0053 and 0.0042 where 0.0042 was wanted (mnist-vae and mnist-gan, thickness, run seed 5)."""

REACHING = 2.0
"""Times as far as a plain direction a teacher may go that reaches the wanted ratio; others may go as far as it."""

DIRECTIONS = {"linear": "the direction of the marks", "pseudo-label": "the pseudo-label direction"}
SEARCH = "the counterfactual feature"


def pareto(costs: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """Indices of the pairs that no other is at most as large as in both, the first number ascending."""
    kept: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: costs[i]):
        if not kept or costs[index][1] < costs[kept[-1]][1]:
            kept.append(index)
    return tuple(kept)


def thinned(front: Sequence[int]) -> list[int]:
    """At most `SHOWN` of them, evenly, the first and the last among them."""
    if len(front) <= SHOWN:
        return list(front)
    return [front[round(i * (len(front) - 1) / (SHOWN - 1))] for i in range(SHOWN)]


def gentlest(ratios: Sequence[float], front: Sequence[int], wanted: float) -> tuple[int, bool]:
    """The first of the front whose ratio is at most the wanted one, and True; else the front's last, False."""
    for index in front:
        if ratios[index] <= wanted:
            return index, True
    return front[-1], False


@dataclass(frozen=True)
class Point:
    """One teacher on fresh samples, as the second opinion sees it."""

    finder: str
    threshold: float
    margin: float
    ratio: float
    upper: float
    """What the ratio is below, with confidence."""
    rewritten: float
    """Share of latents that it moves."""
    drift: float
    """Mean absolute pixel change, in [0, 1], of pictures that do not show the feature."""
    distance: float
    """Of the latents that it makes of all from those of pictures without the feature."""
    flips: float | None = None
    """Share of those that change class; None where nobody knows their classes, or nobody looked."""

    @property
    def harm(self) -> float:
        """Change on the rest: of classes where they are known, else of pixels."""
        return self.drift if self.flips is None else self.flips

    @property
    def left(self) -> float:
        """What is compared with the wanted ratio: the bound, or the estimate with room for a copy."""
        return max(self.upper, self.ratio / TEACHERS)

    def near(self, wanted: float, limit: float) -> bool:
        """Whether it goes no farther than it may, a plain direction's distance being the limit."""
        return self.distance <= (REACHING if self.left <= wanted else 1) * limit

    @property
    def cost(self) -> tuple[float, float]:
        """Change on the rest, and what is left: both the lower the better."""
        return self.harm, self.left

    def changes(self) -> str:
        """What becomes of the rest, in words."""
        classes = f" ({100 * self.flips:.1f} % of those change class)" if self.flips is not None else ""
        return f"the rest by {self.drift:.4f}{classes}"

    def reaches(self, wanted: float) -> str:
        """What it leaves, in words, and why that is too much where its bound is not."""
        tight = f"; too near to {wanted:.4g} for a copy, which leaves more" if self.upper <= wanted < self.left else ""
        return f"{self.ratio:.4f} (at most {self.upper:.4f}{tight})"

    def named(self) -> str:
        """Its finder, in words."""
        return DIRECTIONS.get(self.finder, SEARCH)

    def command(self) -> str:
        """What asks for such a teacher."""
        return f"find --finder {self.finder} --threshold {self.threshold:.3f} --margin {self.margin:.3f}"


def _taken(points: Sequence[Point], near: Sequence[int], wanted: float) -> tuple[tuple[int, ...], int, bool]:
    """Of those near enough: their front, the one of it to take, and whether that reaches the wanted ratio."""
    front = tuple(near[i] for i in pareto([points[i].cost for i in near]))
    return front, *gentlest([point.left for point in points], front, wanted)


@dataclass(frozen=True)
class Choice:
    """Points, their front, the one taken and what is said of it."""

    points: tuple[Point, ...]
    near: tuple[int, ...]
    """Those that may be taken: that go no farther than they may, or change and leave less than what would be else."""
    front: tuple[int, ...]
    """Of those, gentlest first."""
    picked: int
    reached: bool
    """Whether at most the wanted ratio is left by the one taken."""
    wanted: float
    limit: float
    """How far a plain direction goes, or the feature itself where there is none."""

    @classmethod
    def of(cls, points: Sequence[Point], wanted: float, limit: float) -> Choice:
        """Of at least one point, from those near enough where there are any: the gentlest of which at most the wanted
        ratio is left, else that of the least; but none where another both changes less and leaves less."""
        near = [i for i, point in enumerate(points) if point.near(wanted, limit)]
        near = near or [min(range(len(points)), key=lambda i: points[i].distance)]
        _, first, _ = _taken(points, near, wanted)
        harm, left = points[first].cost
        near += [i for i, point in enumerate(points) if i not in near and point.harm <= harm and point.left < left]
        return cls(tuple(points), tuple(near), *_taken(points, near, wanted), wanted, limit)

    def told(self) -> list[str]:
        """What was taken and why; a plain refusal where nothing, or no direction, reaches the wanted ratio."""
        point, wanted = self.points[self.picked], f"{self.wanted:.4g}"
        change = f"it moves {100 * point.rewritten:.0f} % of the latents and changes {point.changes()}"
        estimate = f"an estimated {point.ratio:.4f} still show it, at most {point.upper:.4f} with 95 % confidence"
        tried = f"of {len(self.points)} teachers measured, {len(self.front)} are on the front"
        if self.reached:
            first = (
                f"chosen: {point.named()}, the gentlest that reaches {wanted} with room for a copy, which leaves more: "
                f"{estimate}; {change} ({tried})."
            )
            return [first, *self._by_kind()]
        farther = self._beyond()
        lack = "with confidence" if point.upper > self.wanted else "with room for a copy, which leaves more"
        lack = "without going too far" if farther is not None and farther.left <= self.wanted else lack
        first = (
            f"{wanted} is not reachable here {lack}. Taken is the lowest, {point.named()}: "
            f"{estimate}; {change} ({tried}). Mark more pictures, or ask for less:  mark --wanted-ratio"
        )
        return [first, *([] if farther is None else [self._farther(farther)]), *self._by_kind()]

    def _beyond(self) -> Point | None:
        """Of those that go too far the gentlest that reaches the wanted ratio, else the lowest, if lower than taken."""
        beyond = [point for i, point in enumerate(self.points) if i not in self.near]
        reaching = [point for point in beyond if point.left <= self.wanted]
        if reaching:
            return min(reaching, key=lambda p: p.harm)
        lower = [point for point in beyond if point.left < self.points[self.picked].left]
        return min(lower, key=lambda p: p.left, default=None)

    def _farther(self, point: Point) -> str:
        """What going too far would bring, and how to have it."""
        plain = any(other.finder in DIRECTIONS for other in self.points)
        measure = "a plain direction does" if plain else "they are without any edit"
        return (
            f"{point.named()} would leave {point.ratio:.4f} (at most {point.upper:.4f}), but moves "
            f"{100 * point.rewritten:.0f} % of the latents and changes {point.changes()}: it takes them "
            f"{point.distance / self.limit:.1f} times as far from those of pictures without the feature as "
            f"{measure}. To have it nevertheless:  {point.command()}"
        )

    def _by_kind(self) -> list[str]:
        """How far directions and the search get, of those that do not go too far."""
        best: dict[bool, Point] = {}
        for point in sorted(self._near(), key=lambda p: p.left, reverse=True):
            best[point.finder in DIRECTIONS] = point
        if len(best) < 2 or best[True].left <= self.wanted:
            return [self._why(best)] if self.reached and len(best) == 2 else []
        line, search = (best[is_line].reaches(self.wanted) for is_line in (True, False))
        return [f"not reachable linearly here: the best direction reaches {line}; {SEARCH} reaches {search}."]

    def _why(self, best: Mapping[bool, Point]) -> str:
        """What the other kind would have cost, where both reach the wanted ratio or only a direction does."""
        mine = self.points[self.picked].finder in DIRECTIONS
        other = "a direction" if not mine else SEARCH
        reaching = [p for p in self._near() if (p.finder in DIRECTIONS) != mine and p.left <= self.wanted]
        if not reaching:
            return f"{other} stops at {best[not mine].reaches(self.wanted)}."
        least = min(reaching, key=lambda p: p.harm)
        return f"{other} would reach it too, and change {least.changes()}."

    def _near(self) -> list[Point]:
        return [self.points[i] for i in self.near]

    def to_json(self) -> dict[str, Any]:
        """Everything, with the sentences."""
        own = [{"left": point.left, "near": i in self.near} for i, point in enumerate(self.points)]
        points = [asdict(point) | told for point, told in zip(self.points, own, strict=True)]
        return {**asdict(self), "points": points, "told": self.told()}


def own_choice(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the feature of a saved file's facts was chosen, if it was, as JSON: of several features the run's own."""
    inner = facts["parts"][0] if "parts" in facts else facts.get("inner")  # the run's own is the first of them
    choice: dict[str, Any] | None = facts.get("about", {}).get("choice") if inner is None else own_choice(inner)
    return choice


def sentences(about: Mapping[str, Any]) -> list[str]:
    """What is told of how a feature was chosen, where it was."""
    return list(about.get("choice", {}).get("told", []))
