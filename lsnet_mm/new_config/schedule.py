"""How long to fine-tune on a data set of some size, on one GPU, and how fast."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """A published recipe, and what becomes of it on other data.

    Attributes:
        lr: Learning rate as published.
        base_batch: Images a step that it is for.
        batch: Images a step on one GPU.
        factor: Of the learning rate: the published one may be for training from scratch.
        seen: Images to see in all.
        passes: Fewest and most passes over the data.
    """

    lr: float
    base_batch: int
    batch: int
    factor: float
    seen: int
    passes: tuple[int, int]


@dataclass(frozen=True)
class Schedule:
    """How to train.

    Attributes:
        batch: Images a step.
        lr: Learning rate.
        epochs: Passes over the data.
        iterations: Steps in all.
        warm_up: Steps until the learning rate is reached.
        interval: Epochs, of label maps iterations, between validations and between checkpoints.
    """

    batch: int
    lr: float
    epochs: int
    iterations: int
    warm_up: int
    interval: int


RECIPES = {
    "detection": Recipe(1e-4, 16, 4, 1.0, 40_000, (12, 300)),
    "instance": Recipe(1e-4, 16, 4, 1.0, 40_000, (12, 300)),
    "semantic": Recipe(2e-4, 32, 8, 1.0, 160_000, (16, 300)),
    "classification": Recipe(4e-3, 2048, 64, 0.1, 100_000, (30, 100)),
}


def plan(task: str, images: int) -> Schedule:
    """Return how to train for a task on a number of images.

    Small sets are passed over more often, large ones a few times. AdamW's learning rate goes with
    the square root of the batch.
    """
    recipe = RECIPES[task]
    batch = recipe.batch
    if task == "classification":  # whose BatchNorm wants several images, of several steps
        batch = max(2, min(batch, 2 ** int(math.log2(max(images / 4, 1)))))
    lr = recipe.lr * math.sqrt(batch / recipe.base_batch) * recipe.factor
    fewest, most = recipe.passes
    epochs = min(max(math.ceil(recipe.seen / images), fewest), most)
    iterations = epochs * math.ceil(images / batch)
    interval = max(1, epochs // 12)
    if task == "semantic":  # whose training counts iterations: ten times an interval
        interval = math.ceil(iterations / 10)
        iterations = 10 * interval
    return Schedule(
        batch=batch,
        lr=float(f"{lr:.0e}"),
        epochs=epochs,
        iterations=iterations,
        warm_up=min(500, math.ceil(iterations / 10)),
        interval=interval,
    )
