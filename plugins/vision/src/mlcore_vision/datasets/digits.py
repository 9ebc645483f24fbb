"""The UCI handwritten digits: 1,797 images of 8x8, shipped with this package."""

from __future__ import annotations

from importlib import resources

import numpy as np

from mlcore_vision.datasets.base import ImageDataset, Transform, check_split

FOLD = 5


class Digits(ImageDataset):
    """Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998, UCI repository, CC BY 4.0).

    1,797 images of 8x8 pixels with values 0 to 16, no download. `split` is "train" (1,442), "test" (355) or "all".
    The split is the same for everybody, always: of each class, in the order of the file, every fifth image is
    for testing. So the classes are equally frequent in both; writers are not separated (the file names none).

    >>> Digits("train"), Digits("test")
    (Digits(1442 images of 8x8, 10 classes), Digits(355 images of 8x8, 10 classes))
    >>> image, label = Digits("test")[0]
    >>> image.shape, str(image.dtype), label
    ((1, 8, 8), 'float32', 5)
    """

    def __init__(self, split: str = "train", transform: Transform | None = None) -> None:
        check_split(split, ("train", "test", "all"), "Digits")
        with resources.files("mlcore_vision").joinpath("data", "digits.npz").open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            images, labels = stored["images"], stored["labels"]
        if split != "all":
            chosen = test_rows(labels) == (split == "test")
            images, labels = images[chosen], labels[chosen]
        super().__init__(images, labels, tuple("0123456789"), 16, transform)
        self.split = split


def test_rows(
    labels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which rows are for testing: every fifth of each class.

    >>> test_rows(np.array([7, 7, 7, 3, 7, 7], np.uint8)).tolist()
    [False, False, False, False, False, True]
    """
    rows = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows[np.flatnonzero(labels == label)[FOLD - 1 :: FOLD]] = True
    return rows
