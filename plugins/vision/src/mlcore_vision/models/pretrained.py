"""What belongs to a model beside its layers: weights by name, how a picture is prepared, the names of the classes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from mlcore import assets, nn
from mlcore.errors import ArgumentError
from mlcore_vision.transforms import ImageClassification


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 classes of ImageNet-1k in their order, as torchvision calls them (BSD-3-Clause, data/ATTRIBUTION.md).

    >>> imagenet_classes()[282]
    'tiger cat'
    """
    text = (
        resources.files("mlcore_vision").joinpath("data", "imagenet_classes.txt").read_text(encoding="utf-8")
    )
    return tuple(text.splitlines())


@dataclass(frozen=True, slots=True)
class Weights:
    """Trained weights of a model: an asset, and what it was trained on.

    >>> weights = WEIGHTS["vision/mobilenet_v2"]["IMAGENET1K_V1"]
    >>> weights.transforms()
    ImageClassification(crop_size=224, resize_size=256)
    >>> len(weights.categories)
    1000
    """

    name: str
    model: str
    asset: str
    crop_size: int = 224
    resize_size: int = 256

    def transforms(self) -> ImageClassification:
        """How a picture is prepared for the model."""
        return ImageClassification(self.crop_size, self.resize_size)

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of the classes."""
        return imagenet_classes()

    def path(self) -> Path:
        """The file, fetched the first time; raises mlcore.assets.FetchError when it cannot be had."""
        return assets.get(self.asset)


# The first of a model's is its default.
WEIGHTS: Final[dict[str, dict[str, Weights]]] = {
    "vision/mobilenet_v2": {
        "IMAGENET1K_V1": Weights("IMAGENET1K_V1", "vision/mobilenet_v2", "mobilenet_v2"),
    }
}


def find_weights(model: str, weights: Weights | str) -> Weights | Path:
    """The weights that `weights` means: an object of `WEIGHTS`, its name, "DEFAULT", or the path of a file.

    >>> find_weights("vision/mobilenet_v2", "DEFAULT").name
    'IMAGENET1K_V1'
    """
    known = WEIGHTS.get(model, {})
    if isinstance(weights, Weights):
        if weights.model != model:
            raise ArgumentError(f"{model}: the weights {weights.name} are those of {weights.model}")
        return weights
    if weights == "DEFAULT" and known:
        return next(iter(known.values()))
    if weights in known:
        return known[weights]
    if Path(weights).exists():
        return Path(weights)
    raise ArgumentError(
        f"{model}: no weights {os.fspath(weights)!r}",
        known=", ".join(["DEFAULT", *known]) if known else "none that can be fetched",
        fix="the path of a file of torchvision's (.pth), or a .safetensors file",
    )


def loadable(name: str, factory: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """The factory with the argument `weights`: "DEFAULT" or another name, a `Weights`, or the path of a file."""

    @functools.wraps(factory)
    def make(*, weights: Weights | str | os.PathLike[str] | None = None, **options: Any) -> nn.Module:
        chosen = None
        if weights is not None:
            chosen = find_weights(name, weights if isinstance(weights, Weights) else os.fspath(weights))
        path = chosen.path() if isinstance(chosen, Weights) else chosen  # before the model is made
        model = factory(**options)
        if path is not None:
            model.load_weights(path)
        return model

    return make
