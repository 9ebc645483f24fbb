"""What is in a photograph, by a network trained on ImageNet: what `mlcore classify` is made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

import mlcore as ml
from mlcore.errors import ArgumentError
from mlcore_vision.images import open_image
from mlcore_vision.models import IMAGENET, find_weights, imagenet_classes
from mlcore_vision.models.pretrained import Weights
from mlcore_vision.transforms import ImageClassification


@dataclass(frozen=True, slots=True)
class Guess:
    """A class and its probability."""

    name: str
    index: int
    probability: float


class Classifier:
    """A network, its classes, and how it wants a picture prepared.

    >>> net = ml.create_model("vision/mobilenet_v2", num_classes=3, width_mult=0.25)
    >>> guesses = Classifier(net, ["cat", "cup", "palace"])([Image.new("RGB", (80, 60))], top=2)[0]
    >>> len(guesses), guesses[0].probability >= guesses[1].probability
    (2, True)
    """

    def __init__(
        self, model: Any, classes: Sequence[str], transforms: ImageClassification | None = None
    ) -> None:
        self.model, self.classes = model.eval(), classes
        self.transforms = transforms or ImageClassification()

    @classmethod
    def pretrained(cls, name: str, weights: Weights | str | os.PathLike[str] = "DEFAULT") -> Classifier:
        """A model of `mlcore_vision.models.IMAGENET` by its name, with weights that are fetched or in a file of yours.

        Raises ArgumentError for unknown names, mlcore.assets.FetchError, and what mlcore.load raises.
        """
        if name not in IMAGENET:
            raise ArgumentError(f"{name!r} is no model with ImageNet's classes", known=", ".join(IMAGENET))
        chosen = find_weights(name, weights if isinstance(weights, Weights) else os.fspath(weights))
        transforms = chosen.transforms() if isinstance(chosen, Weights) else None
        return cls(ml.create_model(name, weights=chosen), imagenet_classes(), transforms)

    def __call__(
        self, pictures: Sequence[str | os.PathLike[str] | Image.Image], top: int = 5
    ) -> list[list[Guess]]:
        """The likeliest classes of each picture, the likeliest first."""
        opened = [one if isinstance(one, Image.Image) else open_image(one) for one in pictures]
        with ml.no_grad():
            logits = self.model(ml.stack([ml.asarray(self.transforms(one)) for one in opened]))
            rows = np.asarray(ml.nn.functional.softmax(logits, 1))
        best = np.argsort(-rows, axis=1, kind="stable")[:, :top]
        return [
            [Guess(self.classes[index], int(index), float(row[index])) for index in chosen]
            for row, chosen in zip(rows, best)
        ]
