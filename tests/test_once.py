"""What is remembered of a tensor: not of another, of the same before it changed, or without a gradient; and by name."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from unfeature.metrics.digits import load_digit_extractor
from unfeature.once import Memory, Once


class Counted:
    """Twice the tensor, and how often it was worked out."""

    def __init__(self) -> None:
        self.once, self.times = Once[torch.Tensor](), 0

    def __call__(self, given: torch.Tensor) -> torch.Tensor:
        def make() -> torch.Tensor:
            self.times += 1
            return 2 * given

        return self.once.of(given, make)


def test_one_tensor_is_asked_about_once() -> None:
    counted, given = Counted(), torch.arange(3.0)
    assert counted(given) is counted(given) and counted.times == 1
    given += 1
    assert torch.equal(counted(given), torch.tensor([2.0, 4.0, 6.0])) and counted.times == 2
    other = given.clone()
    assert torch.equal(counted(other), counted(other)) and counted.times == 3


def test_a_view_and_a_dead_tensor_are_others() -> None:
    counted = Counted()
    for value in range(50):  # addresses are used again
        given = torch.full((4,), float(value))
        assert torch.equal(counted(given), 2 * given)
        assert torch.equal(counted(given[1:]), 2 * given[1:])


def test_without_gradient_is_not_with() -> None:
    counted, given = Counted(), torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not counted(given).requires_grad
    assert counted(given).requires_grad
    with torch.no_grad():
        assert not counted(given).requires_grad


def test_inference_tensors_are_worked_out_each_time() -> None:
    counted = Counted()
    with torch.inference_mode():
        given = torch.ones(2)
        assert torch.equal(counted(given), counted(given))
        given += 1
        assert torch.equal(counted(given), torch.full((2,), 4.0))
    assert counted.times == 3


@pytest.mark.parametrize("other", [copy.deepcopy, lambda once: pickle.loads(pickle.dumps(once))])
def test_a_copy_remembers_nothing(other: object) -> None:
    counted, given = Counted(), torch.ones(2)
    counted(given)
    fresh = other(counted.once)  # type: ignore[operator]
    assert torch.equal(fresh.of(given, lambda: torch.zeros(2)), torch.zeros(2))


def test_a_network_says_the_same_of_a_batch_as_of_its_clone() -> None:
    network, images = load_digit_extractor(), torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    maps, logits, embedding = list(network.layers(images)), network.logits(images), network.embed(images)
    assert torch.equal(logits, network.logits(images.clone())) and torch.equal(embedding, network.embed(images.clone()))
    assert all(torch.equal(a, b) for a, b in zip(maps, network.layers(images.clone()), strict=True))
    images[0] = 0
    assert not torch.equal(network.logits(images)[0], logits[0])


def test_what_was_asked_for_longest_ago_makes_room() -> None:
    memory, made = Memory(room=10), list[str]()

    def ask(name: str, size: int = 4) -> str:
        return memory.of(name, lambda: made.append(name) or name, lambda _: size)  # type: ignore[func-returns-value]

    assert [ask(name) for name in ("a", "b", "a", "c", "a", "c")] == ["a", "b", "a", "c", "a", "c"]
    assert made == ["a", "b", "c"], "b was asked for longest ago, and had to go for c"
    assert ask("b") == "b" and ask("large", 11) == "large" and ask("large", 11) == "large"
    assert made == ["a", "b", "c", "b", "large", "large"], "what has no room at all is made each time"
    memory.room = 0
    assert [ask("d"), ask("d")] == ["d", "d"] and made[-2:] == ["d", "d"]
