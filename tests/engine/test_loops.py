"""Batches and random numbers by iteration."""

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader, Dataset

from lsnet_mm.engine.loops import NumberedBatches, SeededItems
from lsnet_mm.errors import InputError


class Draws(Dataset):
    """Each item is its index and what the three generators give."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> tuple[float, ...]:
        return index, random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002


def numbered(sampler_type=DefaultSampler, endless=False, batch_size=2, **batches):
    sampler = sampler_type(Draws(), seed=0)
    batches = dict(type=BatchSampler, drop_last=False, **batches)
    return NumberedBatches(sampler, batch_size, batches, endless)


def epoch(loader: DataLoader, iteration: int, skip: int = 0) -> list:
    loader.batch_sampler.start(iteration, skip)
    return list(loader)


def test_items_are_the_same_in_any_worker_after_any_history():
    results = []
    for workers, persistent in ((0, False), (1, True), (2, True), (2, False)):
        dataset = Draws()
        dataset.__getitems__ = SeededItems(dataset, seed=0, rank=0)
        loader = DataLoader(
            dataset,
            batch_sampler=numbered(),
            num_workers=workers,
            persistent_workers=persistent,
            collate_fn=list,
        )
        first, second = epoch(loader, 0), epoch(loader, 4)
        assert epoch(loader, 6, skip=2) == second[2:]
        results.append((first, second))
    assert all(result == results[0] for result in results)
    first, second = results[0]
    draws = [draw for batch in (*first, *second) for item in batch for draw in item[1:]]
    assert len(set(draws)) == len(draws) == 2 * 7 * 3  # each epoch's, and each generator's, differ


def test_ranks_and_seeds_draw_their_own():
    draws = [SeededItems(Draws(), seed, rank)((0, [0])) for seed, rank in ((0, 0), (0, 1), (1, 0))]
    assert len({draw for ((_, *values),) in draws for draw in values}) == 9


@pytest.mark.parametrize("sampler", [DefaultSampler, InfiniteSampler])
def test_endless_batches_go_on_from_anywhere(sampler):
    def batches(skip: int, count: int) -> list:
        source = numbered(sampler, endless=True)
        source.start(skip, skip)
        return [batch for batch, _ in zip(source, range(count), strict=False)]

    whole = batches(0, 12)
    assert [number for number, _ in whole] == list(range(12))
    assert batches(5, 7) == whole[5:]
    passes = [i for _, indices in whole for i in indices]
    assert sorted(passes[:7]) == sorted(passes[7:14]) == list(range(7))
    assert passes[:7] != passes[7:14]


def test_data_without_a_batch_are_an_error_and_no_endless_loop():
    sampler = DefaultSampler(Draws(), seed=0)
    source = NumberedBatches(sampler, 8, dict(type=BatchSampler, drop_last=True), endless=True)
    source.start(0, 0)
    with pytest.raises(InputError, match="make no batch of 8 images"):
        next(iter(source))
