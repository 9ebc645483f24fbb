"""Random numbers from counters: Threefry-2x32 (Salmon et al. 2011), the same bits on every device.

Element i of a draw is a function of the generator's key and a counter alone, so no thread count, device or
order of evaluation changes it. The bits are those of JAX's ``threefry2x32`` (partitionable) for the same key.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from mlcore import checkpointing, dispatch, dtypes, shapes
from mlcore.dtypes import as_dtype, floating
from mlcore.errors import ArgumentError, DTypeError, ShapeError
from mlcore.ops.elementwise import astype, cos, log, remainder, sqrt, where
from mlcore.ops.guard import guarded
from mlcore.ops.logic import bitwise_right_shift
from mlcore.ops.reduce import cumulative_sum
from mlcore.ops.shape import same
from mlcore.ops.sorting import argsort, searchsorted
from mlcore.ops.spec import Outs, composite, out, primitive

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_MASK = 0xFFFFFFFF


def threefry(key: tuple[int, int], x0: Any, x1: Any) -> tuple[Any, Any]:
    """Threefry-2x32 with 20 rounds on uint32 arrays or Python ints (masked by hand)."""
    array = isinstance(x0, np.ndarray)
    word: Any = np.uint32 if array else int

    def keep(value: Any) -> Any:
        return value if array else value & _MASK

    k = (key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA)
    x0, x1 = keep(x0 + word(k[0])), keep(x1 + word(k[1]))
    for block in range(5):
        for turn in _ROTATIONS[block % 2]:
            x0 = keep(x0 + x1)
            x1 = keep((x1 << word(turn)) | (x1 >> word(32 - turn))) ^ x0
        x0 = keep(x0 + word(k[(block + 1) % 3]))
        x1 = keep(x1 + word((k[(block + 2) % 3] + block + 1) & _MASK))
    return x0, x1


def _random_bits(key: tuple[int, int], offset: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    counter = np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(offset)
    a, b = threefry(
        key, (counter >> np.uint64(32)).astype(np.uint32), (counter & np.uint64(_MASK)).astype(np.uint32)
    )
    bits: np.ndarray[Any, Any] = (a ^ b).reshape(shape)
    return bits


@primitive(
    reference=_random_bits,
    public=False,
    samples=lambda: [
        dict(key=(1, 2), offset=0, shape=(3, 5)),
        dict(key=(7, 9), offset=2**32 - 2, shape=(4,)),
    ],
)
def random_bits(key: tuple[int, int], offset: int, shape: Any) -> Outs:
    """Uniform uint32: element i is `x0 ^ x1` of the block whose counter is the two halves of `offset + i`."""
    target = shapes.as_shape(shape, "random")
    return out(target, dtypes.uint32, key, offset, target)


class Generator:
    """A stream of random numbers: a key from the seed, and a counter that each draw moves on.

    >>> import mlcore as ml
    >>> a, b = ml.random.Generator(7), ml.random.Generator(7)
    >>> bool((ml.random.uniform((3,), generator=a) == ml.random.uniform((3,), generator=b)).all())
    True
    """

    __slots__ = ("_lock", "counter", "key", "seed")

    def __init__(self, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self.manual_seed(int.from_bytes(os.urandom(8), "little") if seed is None else seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start again from `seed` (0 to 2**64 - 1)."""
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
            raise ArgumentError(
                f"seed {seed!r}", cause="a seed is an integer from 0 to 2**64 - 1", fix="use such a seed"
            )
        self.seed = int(seed)
        self.key = (self.seed >> 32, self.seed & _MASK)
        self.counter = 0
        return self

    def take(self, count: int) -> int:
        """Reserve counters for `count` numbers; returns the first."""
        with self._lock:
            first = self.counter
            self.counter = (first + count + _MASK) & ~_MASK  # each draw starts at a multiple of 2**32
            return first

    def get_state(self) -> tuple[int, int]:
        """(seed, counter): what `set_state` takes."""
        return self.seed, self.counter

    def set_state(self, state: tuple[int, int]) -> None:
        """Continue where a generator with this state stood."""
        if (
            not isinstance(state, (tuple, list))
            or len(state) != 2
            or not isinstance(state[1], int)
            or state[1] < 0
        ):
            raise ArgumentError(
                f"state {state!r}", cause="a state is the (seed, counter) of get_state()", fix="pass one"
            )
        self.manual_seed(state[0])
        self.counter = state[1]

    def spawn(self, index: int) -> Generator:
        """An independent generator for worker, rank or epoch `index`: its key is Threefry of this one's."""
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or not 0 <= index < 2**64:
            raise ArgumentError(f"spawn: index {index!r}", fix="use an integer from 0 to 2**64 - 1")
        index = int(index)
        high, low = threefry(self.key, index >> 32 & _MASK, index & _MASK)
        return Generator(high << 32 | low)

    def __repr__(self) -> str:
        return f"Generator(seed={self.seed}, counter={self.counter})"


_default = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, which every random operation without `generator=` draws from."""
    return _default.manual_seed(seed)


def default_generator() -> Generator:
    """The generator that random operations use when none is given."""
    return _default


def get_state() -> tuple[int, int]:
    """State of the default generator."""
    return _default.get_state()


def set_state(state: tuple[int, int]) -> None:
    """Restore the default generator."""
    _default.set_state(state)


@contextlib.contextmanager
def replay(state: tuple[int, int]) -> Iterator[None]:
    """Draw from the default generator as it was at `state`, then put it back as it is now."""
    now = _default.get_state()
    _default.set_state(state)
    try:
        yield
    finally:
        _default.set_state(now)


def _bits(shape: Any, generator: Generator | None, device: Any) -> Any:
    target = shapes.as_shape(shape, "random")
    source = generator or _default
    params = {"key": source.key, "offset": source.take(math.prod(target)), "shape": target}
    return dispatch.apply(random_bits, (), params, device)


def _unit(shape: Any, dtype: Any, generator: Generator | None, device: Any) -> Any:
    """Uniform on [0, 1): 24 random bits times 2**-24, exact in float32, so the same on every device."""
    chosen = dtypes.default_float() if dtype is None else as_dtype(dtype)
    if chosen not in floating:
        raise DTypeError(f"random: {chosen} is not a floating dtype", fix="use integers() for integers")
    wide = chosen if chosen.itemsize >= 4 else dtypes.float32
    unit = astype(bitwise_right_shift(_bits(shape, generator, device), 8), wide) * 2.0**-24
    return unit if wide is chosen else astype(unit, chosen)


@guarded
def uniform(shape: Any = (), low: float = 0.0, high: float = 1.0, *, dtype: Any = None, device: Any = None,
            generator: Generator | None = None, requires_grad: bool = False) -> Any:  # fmt: skip
    """Uniform on [low, high), bit-equal on every device.

    >>> import mlcore as ml
    >>> ml.random.uniform((2, 3)).shape
    (2, 3)
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high < low:
        raise ArgumentError(f"uniform: low {low}, high {high}", fix="use finite bounds with low <= high")
    unit = _unit(shape, dtype, generator, device)
    found = unit if (low, high) == (0.0, 1.0) else unit * (high - low) + low
    return found.requires_grad_() if requires_grad else found


@guarded
def normal(shape: Any = (), mean: float = 0.0, std: float = 1.0, *, dtype: Any = None, device: Any = None,
           generator: Generator | None = None, requires_grad: bool = False) -> Any:  # fmt: skip
    """Normal numbers (Box and Muller 1958), equal to a few ulp on every device.

    >>> import mlcore as ml
    >>> ml.random.normal((3,)).dtype
    float32
    """
    if not std >= 0:
        raise ArgumentError(f"normal: std is {std}", fix="use a standard deviation >= 0")
    target = shapes.as_shape(shape, "normal")
    both = _unit(
        (2, *target),
        dtypes.float32 if dtype is None or as_dtype(dtype).itemsize < 4 else dtype,
        generator,
        device,
    )
    radius = sqrt(log(1.0 - both[0]) * -2.0)
    found = radius * cos(both[1] * (2 * math.pi)) * std + mean
    if dtype is not None:
        found = astype(found, dtype)
    return found.requires_grad_() if requires_grad else found


@guarded
def integers(low: int, high: int | None = None, shape: Any = (), *, dtype: Any = None, device: Any = None,
             generator: Generator | None = None) -> Any:  # fmt: skip
    """Integers from `low` to `high` - 1 (0 to `low` - 1 when only one bound is given); spans up to 2**32.

    The bias of the remainder is below span / 2**32.

    >>> import mlcore as ml
    >>> bool((ml.random.integers(3, shape=(100,)) < 3).all())
    True
    """
    if high is None:
        low, high = 0, low
    if (
        not isinstance(low, (int, np.integer))
        or not isinstance(high, (int, np.integer))
        or not 0 < high - low <= 2**32
    ):
        raise ArgumentError(
            f"integers: from {low} to {high}", fix="use integers low < high, at most 2**32 apart"
        )
    wide = astype(_bits(shape, generator, device), dtypes.int64)
    return astype(remainder(wide, high - low) + low, dtype or dtypes.int64)


@guarded
def permutation(n: int, *, device: Any = None, generator: Generator | None = None) -> Any:
    """0..n-1 in random order, as int64; bit-equal on every device.

    >>> import mlcore as ml
    >>> sorted(ml.random.permutation(4).tolist())
    [0, 1, 2, 3]
    """
    shapes.check_size((n,), "permutation")
    high, low = _bits((2, n), generator, device)
    order = argsort(low)
    from mlcore.ops.index import gather

    return gather(order, argsort(gather(high, order, axis=0)), axis=0)


@guarded
def bernoulli(
    p: float = 0.5, shape: Any = (), *, device: Any = None, generator: Generator | None = None
) -> Any:
    """True with probability `p`.

    >>> import mlcore as ml
    >>> ml.random.bernoulli(1.0, (2,)).tolist()
    [True, True]
    """
    if not 0 <= p <= 1:
        raise ArgumentError(f"bernoulli: p is {p}", fix="use a probability from 0 to 1")
    return _unit(shape, dtypes.float32, generator, device) < p


@guarded
def choice(weights: Any, count: int, *, generator: Generator | None = None) -> Any:
    """`count` indices drawn with replacement in proportion to 1-d `weights`.

    >>> import mlcore as ml
    >>> ml.random.choice(ml.asarray([0.0, 1.0]), 3).tolist()
    [1, 1, 1]
    """
    if weights.ndim != 1 or not weights.shape[0]:
        raise ShapeError(f"choice: weights of shape {weights.shape}, expected 1-d and not empty")
    lowest, sum_of = weights.min().item(), weights.sum().item()
    if not (lowest >= 0 and 0 < sum_of < math.inf):
        raise ArgumentError(f"choice: the smallest weight is {lowest}, their sum {sum_of}",
                            fix="use finite weights >= 0, not all of them 0")  # fmt: skip
    total = cumulative_sum(weights)
    spots = _unit((count,), total.dtype, generator, weights.device) * total[-1]
    found = searchsorted(total, spots, side="right")
    return where(found >= weights.shape[0], weights.shape[0] - 1, found)


def _dropout_rule(x: Any, /, *, p: float, key: tuple[int, int], offset: int) -> Outs:
    return out(x.shape, x.dtype, float(p), key, offset)


def _dropout_vjp(g: Any, p: float, key: tuple[int, int], offset: int) -> Any:
    return dropout_mask(g, p=p, key=key, offset=offset)


@composite(
    _dropout_rule,
    accepts=floating,
    public=False,
    cacheable=False,
    ulp=2,
    samples=lambda: [dict(p=0.5, key=(1, 2), offset=0)],
    vjp=_dropout_vjp,
)
def dropout_mask(x: Any, /, *, p: float, key: tuple[int, int], offset: int) -> Any:
    """`x / (1 - p)` where the stream's uniform number is at least `p`, else 0; backward draws the mask again."""
    bits = dispatch.apply(random_bits, (), {"key": key, "offset": offset, "shape": x.shape}, x.device)
    return where(bitwise_right_shift(bits, 8) >= math.ceil(p * 2**24), x * (1 / (1 - p)), 0)


@guarded
def dropout(x: Any, p: float = 0.5, *, generator: Generator | None = None) -> Any:
    """Each element 0 with probability `p`, the others divided by `1 - p` (Srivastava et al. 2014).

    >>> import mlcore as ml
    >>> ml.random.dropout(ml.ones((2,)), 0.0).tolist()
    [1.0, 1.0]
    """
    if not 0 <= p <= 1:
        raise ArgumentError(f"dropout: p is {p}", cause="p is a probability", fix="use 0 <= p <= 1")
    if p == 0:
        return same(x)
    if p == 1:
        return x * 0
    source = generator or _default
    return dropout_mask(x, p=p, key=source.key, offset=source.take(x.size))


checkpointing._random_state.append((get_state, replay))
