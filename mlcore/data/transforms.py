"""Functions on samples that can be put together. The random ones draw from the batch's own stream, `sample_rng()`, so
the result does not depend on the number or kind of a loader's workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlcore.data.streams import sample_rng
from mlcore.errors import ArgumentError, ArgumentTypeError
from mlcore.tensor import TensorBase

Transform = Callable[[Any], Any]


class Compose:
    """One function after the other.

    >>> from mlcore import data
    >>> data.Compose([abs, float])(-3)
    3.0
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = _several("Compose", transforms, least=0)

    def __call__(self, sample: Any) -> Any:
        for one in self.transforms:
            sample = one(sample)
        return sample

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(_name, self.transforms))}])"


class Lambda:
    """A function as a transform, with a name that is shown.

    >>> from mlcore import data
    >>> data.Lambda(lambda x: x + 1, "add one")
    Lambda(add one)
    """

    def __init__(self, function: Transform, name: str | None = None) -> None:
        self.function = _several("Lambda", [function])[0]
        self.name = name or _name(function)

    def __call__(self, sample: Any) -> Any:
        return self.function(sample)

    def __repr__(self) -> str:
        return f"Lambda({self.name})"


class Identity:
    """The sample itself.

    >>> from mlcore import data
    >>> data.Identity()(5)
    5
    """

    def __call__(self, sample: Any) -> Any:
        return sample

    def __repr__(self) -> str:
        return "Identity()"


class RandomApply:
    """The transforms with probability `p`, all or none of them.

    >>> from mlcore import data
    >>> data.RandomApply([abs], p=1.0)(-2), data.RandomApply([abs], p=0.0)(-2)
    (2, -2)
    """

    def __init__(self, transforms: Sequence[Transform], p: float = 0.5) -> None:
        self.transforms = Compose(_several("RandomApply", transforms))
        if not 0 <= p <= 1:
            raise ArgumentError(f"RandomApply: p is {p}", fix="use a probability from 0 to 1")
        self.p = p

    def __call__(self, sample: Any) -> Any:
        return self.transforms(sample) if sample_rng().random() < self.p else sample

    def __repr__(self) -> str:
        return f"RandomApply({self.transforms!r}, p={self.p})"


class RandomChoice:
    """One of the transforms, with the probabilities `p` (equal ones by default).

    >>> from mlcore import data
    >>> data.RandomChoice([abs, str], p=[1, 0])(-2)
    2
    """

    def __init__(self, transforms: Sequence[Transform], p: Sequence[float] | None = None) -> None:
        self.transforms = _several("RandomChoice", transforms)
        weights = np.ones(len(self.transforms)) if p is None else np.asarray(p, dtype=np.float64)
        good = weights.shape == (len(self.transforms),) and np.isfinite(weights).all()
        if not good or (weights < 0).any() or not weights.sum() > 0:
            raise ArgumentError(
                f"RandomChoice: p is {p} for {len(self.transforms)} transforms",
                fix="give each a weight >= 0, not all 0",
            )
        self.p = weights / weights.sum()

    def __call__(self, sample: Any) -> Any:
        return self.transforms[int(sample_rng().choice(len(self.transforms), p=self.p))](sample)

    def __repr__(self) -> str:
        return f"RandomChoice([{', '.join(map(_name, self.transforms))}])"


class RandomOrder:
    """All of the transforms, in a random order.

    >>> from mlcore import data
    >>> data.RandomOrder([lambda x: x + 1, lambda x: x + 2])(0)
    3
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = _several("RandomOrder", transforms)

    def __call__(self, sample: Any) -> Any:
        for i in sample_rng().permutation(len(self.transforms)):
            sample = self.transforms[i](sample)
        return sample

    def __repr__(self) -> str:
        return f"RandomOrder([{', '.join(map(_name, self.transforms))}])"


class OnField:
    """A transform on one part of the sample: a position of a tuple or list, or a key of a dict.

    >>> from mlcore import data
    >>> data.OnField(0, abs)((-3, "label")), data.OnField("x", abs)({"x": -3})
    ((3, 'label'), {'x': 3})
    """

    def __init__(self, field: int | str, transform: Transform) -> None:
        self.field, self.transform = field, _several("OnField", [transform])[0]

    def __call__(self, sample: Any) -> Any:
        try:
            if isinstance(sample, Mapping):
                return {**sample, self.field: self.transform(sample[self.field])}
            if isinstance(sample, (tuple, list)):
                parts = list(sample)
                # a sample with fields has them
                parts[self.field] = self.transform(sample[self.field])  # type: ignore[index]
                return type(sample)(*parts) if hasattr(sample, "_fields") else type(sample)(parts)
        except (KeyError, IndexError, TypeError) as error:
            error.add_note(f"while {self!r} was applied to {_form(sample)}")
            raise
        raise ArgumentTypeError(
            f"{self!r}: the sample is a {type(sample).__name__}", fix="use samples that are tuples or dicts"
        )

    def __repr__(self) -> str:
        return f"OnField({self.field!r}, {_name(self.transform)})"


class Normalize:
    """`(x - mean) / std` on arrays or tensors; `mean` and `std` are broadcast, and lie along `axis` if they are 1-d.

    >>> from mlcore import data
    >>> data.Normalize([1.0, 2.0], [2.0, 4.0])(np.asarray([[3.0], [10.0]])).tolist()
    [[1.0], [2.0]]
    """

    def __init__(self, mean: Any, std: Any, axis: int = 0) -> None:
        self.mean, self.std, self.axis = np.asarray(mean, np.float64), np.asarray(std, np.float64), axis
        if not (self.std > 0).all() or not np.isfinite(self.mean).all() or not np.isfinite(self.std).all():
            raise ArgumentError(f"Normalize: mean {mean}, std {std}", fix="use finite means and std > 0")

    def __call__(self, sample: Any) -> Any:
        host = np.asarray(sample)
        if host.dtype.kind != "f":
            host = host.astype(np.float32)
        done = (host - self._along(self.mean, host)) / self._along(self.std, host)
        if isinstance(sample, TensorBase):
            from mlcore import dispatch

            return dispatch.from_data(done, None, sample.device)
        return done

    def _along(self, values: np.ndarray[Any, Any], host: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        values = values.astype(host.dtype)
        if values.ndim != 1:
            return values
        shape = [1] * host.ndim
        shape[self.axis] = -1
        return values.reshape(shape)

    def __repr__(self) -> str:
        return f"Normalize(mean={self.mean.tolist()}, std={self.std.tolist()})"


def _several(who: str, transforms: Any, least: int = 1) -> list[Transform]:
    if isinstance(transforms, (str, bytes)) or not hasattr(transforms, "__len__") or len(transforms) < least:
        raise ArgumentError(f"{who}: transforms is {transforms!r}", fix="pass a list of functions")
    for i, one in enumerate(transforms):
        if not callable(one):
            raise ArgumentTypeError(f"{who}: transform {i} is a {type(one).__name__}", fix="pass functions")
    return list(transforms)


def _name(transform: Any) -> str:
    return getattr(transform, "__name__", None) or repr(transform)


def _form(sample: Any) -> str:
    if isinstance(sample, Mapping):
        return f"a dict with the keys {', '.join(map(repr, sample))}"
    return f"a {type(sample).__name__}" + (f" of {len(sample)}" if isinstance(sample, (tuple, list)) else "")
