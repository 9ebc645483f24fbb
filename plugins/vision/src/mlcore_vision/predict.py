"""Reading a digit in an image file with a trained network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import mlcore as ml
from mlcore.errors import CheckpointError
from mlcore.io import MissingFileError, load_checkpoint
from mlcore_vision.images import open_image
from mlcore_vision.reading import FRAMES, as_text, find_ink

__all__ = ["Reader", "as_text"]

Array = np.ndarray[Any, Any]


class Reader:
    """A trained network, what its classes are called, and how it wants a picture prepared."""

    def __init__(
        self, model: Any, classes: list[str], frame: str, model_name: str = "", path: Path | None = None
    ) -> None:
        self.model, self.classes, self.frame = model.eval(), classes, frame
        self.model_name, self.path = model_name, path

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str]) -> Reader:
        """The network of a run's folder or checkpoint, on the default device.

        Raises `MissingFileError` when there is none, `CheckpointError` for a checkpoint of something else.
        """
        try:
            found = load_checkpoint(path)
        except MissingFileError as error:
            raise MissingFileError(
                f"no trained network in {os.fspath(path)}",
                fix="run `mlcore train digits` first, or pass --checkpoint",
            ) from error
        extra = found.state.get("extra") or {}
        recipe = extra.get("recipe") or {}
        if recipe.get("frame") not in FRAMES or not isinstance(extra.get("classes"), list):
            raise CheckpointError(
                f"{found.path} was not made by `mlcore train digits` or `mlcore train mnist`"
            )
        model = ml.create_model(recipe["model"])
        found.restore(model=model, rng=False)
        return cls(model, extra["classes"], recipe["frame"], recipe["model"], found.path)

    def read(self, picture: str | os.PathLike[str] | Image.Image) -> tuple[dict[str, float], Array]:
        """The probability of each class for the digit in a picture, and what the network was shown (1, H, W)."""
        image = picture if isinstance(picture, Image.Image) else open_image(picture)
        shown = FRAMES[self.frame](find_ink(image))
        with ml.no_grad():
            logits = np.asarray(self.model(ml.asarray(shown[None])), np.float64)[0]
        weights = np.exp(logits - logits.max())
        return {name: float(p) for name, p in zip(self.classes, weights / weights.sum())}, shown
