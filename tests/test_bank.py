"""The bank of erased latents: each is worked out once, each pass sees all, and a resumed training sees the same."""

from __future__ import annotations

import pytest
import torch

from unfeature.unlearners import bank
from unfeature.unlearners.bank import Bank, Batch


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps whose latents were erased."""
    monkeypatch.setattr(bank, "LEAST", 40)
    monkeypatch.setattr(bank, "MOST", 40)
    return []


def _bank(asked: list[int]) -> Bank:
    def erased(step: int) -> Batch:
        asked.append(step)
        latents = torch.arange(8 * step, 8 * step + 8, dtype=torch.float32).unsqueeze(1)
        return Batch(latents, -latents, latents[:, 0] % 2 == 0, 10 + latents)

    return Bank(erased, batch=8, steps=15)


def test_each_pass_sees_every_latent_once_and_none_is_erased_twice(asked: list[int]) -> None:
    made = _bank(asked)
    passes = [Batch.joined([made.at(step) for step in range(5 * k, 5 * k + 5)]) for k in range(3)]
    assert asked == [0, 1, 2, 3, 4]
    for batch in passes:
        assert sorted(batch.latents[:, 0].tolist()) == list(range(40))
        assert torch.equal(batch.erased, -batch.latents)
        assert torch.equal(batch.flags, batch.latents[:, 0] % 2 == 0)
        assert batch.pictures is not None and torch.equal(batch.pictures, 10 + batch.latents)
    orders = [tuple(batch.latents[:, 0].tolist()) for batch in passes]
    assert len(set(orders)) == 3


@pytest.mark.parametrize("step", [0, 3, 5, 7, 14])
def test_a_step_is_the_same_whether_training_began_there_or_before(step: int, asked: list[int]) -> None:
    through, resumed = _bank(asked), _bank(asked)
    for earlier in range(step):
        through.at(earlier)
    one, other = through.at(step), resumed.at(step)
    assert torch.equal(one.latents, other.latents) and torch.equal(one.erased, other.erased)


def test_a_batch_in_parts_and_in_rows_is_the_batch(asked: list[int]) -> None:
    batch = _bank(asked).at(0)
    assert [len(part.flags) for part in batch.split(3)] == [3, 3, 2]
    assert torch.equal(Batch.joined(batch.split(3)).erased, batch.erased)
    bare = Batch(batch.latents, batch.erased, batch.flags)
    parts = [*bare.split(3), bare.rows(torch.tensor([0])), Batch.joined([bare])]
    assert all(part.pictures is None for part in parts)
    assert torch.equal(batch.rows(torch.tensor([2, 0])).latents[:, 0], torch.tensor([2.0, 0.0]))


@pytest.mark.parametrize(("steps", "latents"), [(100, 20_000), (1000, 51_200), (2000, 102_400), (10**6, 200_000)])
def test_long_trainings_learn_from_more_latents(steps: int, latents: int) -> None:
    assert bank.latents_of(256, steps) == latents
