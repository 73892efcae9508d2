"""Training loops that can be cut at any iteration and go on as if nothing had happened.

Data and random numbers are functions of the seed, the rank and the iteration alone. mmengine's
loops resume at the start of an epoch, and data workers go on with whatever random state they have.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from mmengine.dist import get_rank
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import BatchSampler, Dataset, Sampler

from lsnet_mm.errors import InputError

from .randomness import seed_all


class NumberedBatches(Sampler):
    """Batches of indices with the iterations that they are for, from any iteration on.

    Args:
        sampler: Draws the indices.
        batch_size: Images per batch.
        batches: Config of the batch sampler, which is built with the two above.
        endless: Start over when the batches end, with the sampler's next epoch.
    """

    def __init__(self, sampler: Sampler, batch_size: int, batches: dict, endless: bool) -> None:
        self.sampler, self.batch_size, self.endless = sampler, batch_size, endless
        default_args = dict(sampler=sampler, batch_size=batch_size)
        self.batches = DATA_SAMPLERS.build(batches, default_args=default_args)
        self.iteration, self.skip = None, 0

    def start(self, iteration: int, skip: int) -> None:
        """Leave out ``skip`` batches of the next pass; the one after them is for ``iteration``."""
        self.iteration, self.skip = iteration, skip

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        if self.iteration is None:  # a loop that looks ahead before the run has been resumed
            return
        batches = self._endless() if self.endless else iter(self.batches)
        yield from enumerate(islice(batches, self.skip, None), self.iteration)

    def __len__(self) -> int:
        return len(self.batches)

    def _endless(self) -> Iterator[list[int]]:
        epoch = 0
        while True:
            batch = None
            for batch in self.batches:
                yield batch
            if batch is None:
                raise InputError(
                    f"the training data make no batch of {self.batch_size} images: "
                    "lower train_dataloader.batch_size, or set train_dataloader.drop_last=False"
                )
            epoch += 1
            if hasattr(self.sampler, "set_epoch"):
                self.sampler.set_epoch(epoch)


class SeededItems:
    """A data set's images, each with random numbers of its own.

    Takes the place of the data set's ``__getitems__``, which torch's loader calls with what the
    batch sampler yields. What is drawn for an image is then the same in any worker, at any time.

    Args:
        dataset: The data set.
        seed: The run's seed.
        rank: This process's rank.
    """

    def __init__(self, dataset: Dataset, seed: int, rank: int) -> None:
        self.dataset, self.seed, self.rank = dataset, seed, rank

    def __call__(self, batch: tuple[int, Sequence[int]]) -> list[Any]:
        """Load the images of ``batch``: the iteration it is for, and their indices."""
        iteration, indices = batch
        items = []
        for number, index in enumerate(indices, 1):  # 0 is the training step's
            seed_all(self.seed, self.rank, iteration, number)
            items.append(self.dataset[index])
        return items


class _ResumableLoop:
    """What both loops share; comes before mmengine's loop among the bases."""

    endless: bool

    def __init__(self, runner: Runner, dataloader: dict, *args: Any, **kwargs: Any) -> None:
        dataloader = dict(dataloader)
        drop_last = dataloader.pop("drop_last", False)
        batches = dataloader.get("batch_sampler") or dict(type=BatchSampler, drop_last=drop_last)
        dataloader["batch_sampler"] = dict(
            type=NumberedBatches, batches=batches, endless=self.endless
        )
        super().__init__(runner, dataloader, *args, **kwargs)
        dataset = self.dataloader.dataset
        dataset.__getitems__ = SeededItems(dataset, runner.seed, get_rank())
        self.pass_start = 0  # iteration at which this pass over the data began

    def run_iter(self, *batch: Any) -> None:
        """Train on one batch."""
        seed_all(self.runner.seed, get_rank(), self._iter, 0)
        super().run_iter(*batch)

    def _load(self) -> Iterator[Any]:
        """The batches of this pass that are left."""
        seed_all(self.runner.seed, get_rank(), self.pass_start, 0)  # samplers may draw from it
        self.dataloader.batch_sampler.start(self._iter, self._iter - self.pass_start)
        return iter(self.dataloader)

    def _validate(self, done: int, last: int) -> None:
        """Validate after ``done`` of ``last`` epochs or iterations if it is time to."""
        self._decide_current_val_interval()
        due = done % self.val_interval == 0 or done == last
        if self.runner.val_loop is not None and done >= self.val_begin and due:
            self.runner.val_loop.run()

    def _validation_is_missing(self) -> bool:
        """Whether the run was cut between the end of an epoch and its validation's."""
        return self._iter > 0 and self.runner.message_hub.get_info("last_validation") != self._iter


class EpochLoop(_ResumableLoop, EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop``, resumable in the middle of an epoch."""

    endless = False

    def run(self) -> nn.Module:
        """Train, and return the model."""
        self.runner.call_hook("before_train")
        if self._iter == self.pass_start and self._validation_is_missing():
            self._validate(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate(self._epoch, self._max_epochs)
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """Train for one epoch, or for what is left of it."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for index, batch in enumerate(self._load(), self._iter - self.pass_start):
            self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
        self.pass_start = self._iter


class IterLoop(_ResumableLoop, IterBasedTrainLoop):
    """mmengine's ``IterBasedTrainLoop``, which neither loads nor draws data anew on resuming.

    Data that end are begun again at once, where mmengine restarts the workers.
    """

    endless = True

    def run(self) -> nn.Module:
        """Train, and return the model."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        if self._validation_is_missing():
            self._validate(self._iter, self._max_iters)
        batches = self._load()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._validate(self._iter, self._max_iters)
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model
