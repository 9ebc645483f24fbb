"""How the models of this package are trained: `mlcore train digits` and `mlcore train mnist`.

Everything that is random comes from the seed: the weights, the order of each epoch, dropout and augmentation. The same
seed gives the same bits on a device, whatever the number of threads, and whether or not the run was interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import mlcore as ml
from mlcore import nn, optim, train
from mlcore.data import DataLoader, Subset
from mlcore.errors import ArgumentError, CheckpointError, did_you_mean
from mlcore.io import MissingFileError, load_checkpoint
from mlcore_vision import datasets, transforms
from mlcore_vision.datasets import ImageDataset


@dataclass(frozen=True, slots=True)
class Recipe:
    """A data set, a model, and the numbers that train it well."""

    name: str
    model: str
    frame: str  # how a picture is prepared for `predict`: a key of reading.FRAMES
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 0.01
    seed: int = 0
    limit: int | None = None  # training images, for a quick look
    degrees: float = 0.0
    translate: float = 0.0
    scale: float = 0.0
    shear: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ArgumentError(
                    f"training {self.name}: {name}={getattr(self, name)}", expected="at least 1"
                )

    def quick(self) -> Recipe:
        """A short version, to see that everything works."""
        epochs, limit = (3, 480) if self.name == "digits" else (1, 6000)
        return replace(self, epochs=epochs, limit=limit)

    def augment(self) -> transforms.RandomAffine:
        """Small turns, moves, changes of size and slant: a digit stays the same digit."""
        size = (1 - self.scale, 1 + self.scale)
        return transforms.RandomAffine(self.degrees, (self.translate, self.translate), size, self.shear)


RECIPES: Final = {
    "digits": Recipe(
        "digits", "vision/digits-cnn", "digits", epochs=20, batch_size=64, lr=3e-3,
        degrees=10, translate=0.06, scale=0.1, shear=6,
    ),
    "mnist": Recipe(
        "mnist", "vision/mnist-cnn", "mnist", epochs=4, batch_size=128, lr=2e-3,
        degrees=6, translate=0.04, scale=0.06, shear=4,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `run` gives back."""

    model: nn.Module
    recipe: Recipe
    history: train.History
    result: train.Evaluation
    classes: tuple[str, ...]
    seconds: float
    steps: int


def find(name: str) -> Recipe:
    """The recipe of this name, or an error that lists them."""
    if name not in RECIPES:
        raise ArgumentError(f"no recipe {name!r}{did_you_mean(name, RECIPES)}", known=", ".join(RECIPES))
    return RECIPES[name]


def load_data(name: str, folder: Path | None) -> tuple[ImageDataset, ImageDataset]:
    """The training and the held-out part of a recipe's data set; `folder` is where MNIST's files are."""
    if name == "digits":
        return datasets.Digits("train"), datasets.Digits("test")
    return datasets.MNIST(folder, "train"), datasets.MNIST(folder, "test")


def resumed(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe that the checkpoint in `folder` was made with.

    Raises `CheckpointError` if it is of another data set.
    """
    try:
        found = load_checkpoint(folder)
    except MissingFileError as error:
        raise MissingFileError(
            f"nothing to resume: there is no checkpoint in {folder}",
            fix="leave --resume out, or name the run with --out",
        ) from error
    stored = found.state.get("extra", {}).get("recipe")
    if not isinstance(stored, dict) or stored.get("name") != recipe.name:
        made = stored.get("name") if isinstance(stored, dict) else "something else"
        raise CheckpointError(f"{found.path} was made by training {made}, not {recipe.name}")
    return Recipe(**stored)


class Batches:
    """Batches of a data set: of epoch `e` in an order that depends on (seed, e) alone.

    >>> held_out = datasets.Digits("test")
    >>> [len(labels) for _, labels in Batches(held_out, 200).in_order()]
    [200, 155]
    """

    def __init__(self, data: Any, size: int, seed: int = 0, limit: int | None = None) -> None:
        self.size = size
        self.root = ml.Generator(seed)
        if limit is not None and limit < len(data):
            order = ml.random.permutation(len(data), generator=self.root.spawn(2**32 - 1), device="reference")
            data = Subset(data, order.tolist()[:limit])
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __call__(self, epoch: int) -> DataLoader:
        """The shuffled batches of an epoch."""
        return DataLoader(self.data, self.size, shuffle=True, generator=self.root.spawn(epoch))

    def in_order(self) -> DataLoader:
        """All images, in the order of the data set."""
        return DataLoader(self.data, self.size)


def run(
    recipe: Recipe, folder: Path | None = None, data: tuple[ImageDataset, ImageDataset] | None = None, *,
    resume: bool = False, quiet: bool = False, max_steps: int | None = None,
    started: Callable[[nn.Module, int, int], None] | None = None,
) -> Outcome:  # fmt: skip
    """Train and evaluate on the default device; checkpoints go to `folder` (None: there are none).

    `started(model, training images, held-out images)` is called before the first step.
    """
    training, held_out = data or load_data(recipe.name, None)
    ml.manual_seed(recipe.seed)
    model = ml.create_model(recipe.model)
    optimizer = optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    batches = Batches(training, recipe.batch_size, recipe.seed, recipe.limit)
    check = Batches(held_out, 256)
    steps = recipe.epochs * -(-len(batches) // recipe.batch_size)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    warp = recipe.augment()
    if started is not None:
        started(model, len(batches), len(check))

    def evaluate() -> train.Evaluation:
        return train.evaluate(model, check.in_order(), classes=len(held_out.classes))

    begun = time.monotonic()
    history = train.fit(
        model,
        optimizer,
        batches,
        epochs=recipe.epochs,
        samples=len(batches),
        validate=evaluate,
        scheduler=scheduler,
        augment=warp,
        checkpoints=folder,
        resume=resume,
        extra={"recipe": asdict(recipe), "classes": list(held_out.classes)},
        max_steps=max_steps,
        quiet=quiet,
    )
    return Outcome(model, recipe, history, evaluate(), held_out.classes, time.monotonic() - begun, steps)
