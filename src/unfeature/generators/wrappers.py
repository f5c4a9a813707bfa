"""Where in a checkpoint the weights are: nested dicts, averaged copies, prefixes before every name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

from torch import Tensor

ALWAYS_OFF = ("module.", "_orig_mod.")
"""What nn.DataParallel and torch.compile put before every name."""

GENERATOR_WORDS = {"generator", "gen", "g", "netg", "decoder", "dec", "netdec"}
OTHER_WORDS = {"discriminator", "disc", "d", "netd", "critic", "encoder", "enc", "optimizer", "optim", "scheduler"}
NOT_A_NAME = {"n_averaged"}
"""Counters of torch.optim.swa_utils.AveragedModel beside the names that all begin with `module.`"""

MAX_DEPTH, MAX_PARTS = 5, 200

MAX_AGAIN = 100_000
"""Entries of dicts that are looked through again, since they lie in several places of the file."""


@dataclass(frozen=True)
class Part:
    """One set of weights in a checkpoint."""

    where: tuple[str, ...]
    """Keys that lead to its dict."""
    prefix: str
    """Before each of its names there."""
    tensors: Mapping[str, Tensor]
    wrapped: bool = False
    """Whether a wrapper's name is left on, for a module that is wrapped itself."""

    @property
    def words(self) -> list[str]:
        """Of the way to it, in lower case."""
        joined = "_".join([*self.where, self.prefix])
        return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", joined).lower())

    @property
    def averaged(self) -> bool:
        """Whether this is a copy that follows the training slowly."""
        return "ema" in self.words

    @property
    def head(self) -> str:
        """The part of the prefix that is no wrapper's."""
        return re.sub(r"(module|_orig_mod)\.", "", self.prefix)

    @property
    def whole(self) -> bool:
        """Whether nothing is taken off that could be part of the names, and a wrapper's name is."""
        return not self.head and not self.wrapped

    @property
    def rank(self) -> tuple[bool, bool, bool, bool, int]:
        """Lower is likelier to be the generator that is wanted."""
        words = {*self.words, *(key.lower() for key in self.where)}
        other = bool(words & OTHER_WORDS) and not words & GENERATOR_WORDS
        return other, not self.averaged, not self.whole, not words & GENERATOR_WORDS, len(self.prefix)

    @property
    def called(self) -> str:
        """For messages: a.b, with what stands before its names."""
        return ".".join([*self.where, self.head]).rstrip(".")


def parts(content: Any) -> list[Part]:
    """Every set of weights in what a file holds, the likeliest first."""
    whole: list[Part] = []
    below: list[Iterator[Part]] = []
    for where, state in _states(content):
        tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
        if tensors:
            named = _named(where, tensors)
            whole.append(next(named))
            if whole[-1].prefix:
                whole.append(next(named))  # with the wrapper's name left on
            below.append(named)
    turns = (part for row in zip_longest(*below) for part in row if part is not None)  # no dict's layers hide another's
    return sorted((*whole, *islice(turns, max(0, MAX_PARTS - len(whole)))), key=lambda part: part.rank)


def _named(where: tuple[str, ...], tensors: Mapping[str, Tensor]) -> Iterator[Part]:
    """Every set of names that one dict's may be meant as, the whole dict first."""
    for number, (prefix, named) in enumerate(_prefixed("", tensors, 0)):
        yield Part(where, prefix, named)
        if number == 0 and prefix:
            yield Part(where, "", tensors, wrapped=True)


def _states(content: Any) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Every way that text keys lead to a dict, outer ones first: one dict may have an averaged copy's name too."""
    queue: list[tuple[tuple[str, ...], Any, tuple[int, ...]]] = [((), content, (id(content),))]
    ways, seen, left = 1, {id(content)}, MAX_AGAIN
    while queue:
        where, state, above = queue.pop(0)
        if not isinstance(state, Mapping):
            continue
        yield where, state
        for key, value in state.items() if len(where) < MAX_DEPTH else ():
            new = isinstance(value, Mapping) and id(value) not in above and ways < MAX_PARTS
            again = len(value) if new and id(value) in seen else 0
            if isinstance(key, str) and new and again <= left:
                ways, left = ways + 1, left - again
                seen.add(id(value))
                queue.append(((*where, key), value, (*above, id(value))))


def _prefixed(prefix: str, tensors: Mapping[str, Tensor], depth: int) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """The same tensors with what may stand before their names taken off, in every way that may be meant."""
    for always in ALWAYS_OFF * 2:
        names = tensors.keys() - NOT_A_NAME
        if names and all(name.startswith(always) for name in names):
            prefix, tensors = prefix + always, {name[len(always) :]: tensors[name] for name in tensors if name in names}
    yield prefix, tensors
    heads: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        head, dot, rest = name.partition(".")
        if dot and not head.isdigit():
            heads.setdefault(head + dot, {})[rest] = value
    if depth < 3 and len(heads) < MAX_PARTS:
        for head, below in heads.items():
            yield from _prefixed(prefix + head, below, depth + 1)


def chosen(found: list[Part], wanted: Collection[str] | None) -> Part:
    """The part that has most `wanted` names, in their sizes where these are given; with none asked for, the likeliest.

    Only what stands before every name is taken off where nothing is asked for.
    """
    if wanted is None:
        whole = [part for part in found if part.whole]
        return min(whole, key=lambda part: (part.rank, -len(part.tensors)))
    asked = {name for name in wanted if not name.endswith("num_batches_tracked")}

    def fitting(part: Part) -> tuple[int, int]:
        there = asked & part.tensors.keys()
        sizes = (
            sum(wanted[name].shape == part.tensors[name].shape for name in there) if isinstance(wanted, Mapping) else 0
        )
        return len(there), sizes

    return max(found, key=fitting)  # the first of equals


def told(part: Part, found: list[Part], content: Mapping[Any, Any]) -> list[str]:
    """In words: where the weights were found, what else there is."""
    notes = []
    twins = [other for other in found if other is not part and other.tensors.keys() == part.tensors.keys()]
    raw = [other.called or "the top of the file" for other in twins if not other.averaged]
    averaged = [other.called for other in twins if other.averaged]
    if part.averaged and raw:
        notes.append(f'took the averaged weights in "{part.called}"; the raw ones are in "{raw[0]}"')
    elif part.where:
        notes.append(f'the weights are in "{".".join(part.where)}"')
    if part.prefix:
        notes.append(f'"{part.prefix}" is taken off the names')
    if averaged and not part.averaged:
        notes.append(f'"{averaged[0]}" has averaged weights under the same names, which were not taken')
    aside = list(dict.fromkeys(_aside(part, found, content)))
    if aside:
        notes.append(f"left aside: {', '.join(aside[:8])}{' and more' if len(aside) > 8 else ''}")
    return notes


def _aside(part: Part, found: list[Part], content: Mapping[Any, Any]) -> Iterator[str]:
    """What else is at the file's top, and beside the weights under another prefix."""
    for key, value in content.items():
        if (part.where and key != part.where[0]) or (not part.where and not isinstance(value, Tensor)):
            yield ascii(key)[:40].strip("'")
    whole = next(other for other in found if other.where == part.where and other.whole)
    if not part.whole:
        names = (whole.prefix + name for name in whole.tensors)
        yield from (name[len(whole.prefix) :].partition(".")[0] for name in names if not name.startswith(part.prefix))
