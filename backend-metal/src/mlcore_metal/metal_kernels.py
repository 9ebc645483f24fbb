"""Metal kernels of our own, by `mx.fast.metal_kernel`: where one launch replaces dozens of MLX's.

Each has a twin made of MLX's functions, which runs wherever there is no GPU and which the tests hold the source
against: here they compile the same body with a C++ compiler and run it. A source is only what stands between the
braces of the kernel; MLX writes the rest from the names and dtypes of the arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlcore_metal.library import mx

GROUP = 256


@dataclass(frozen=True)
class MetalSource:
    """A kernel: the names of its arrays, and its body, in which `T` is the element type where it has one."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    source: str = field(repr=False)
    header: str = field(default="", repr=False)
    op: str = ""  # the operation whose body it is, where it was generated

    def made(self) -> Any:
        """MLX's object for it, made once; the source is compiled for each combination of dtypes."""
        found = _MADE.get(self)
        if found is None:
            found = _MADE[self] = mx.fast.metal_kernel(
                name=self.name,
                input_names=list(self.inputs),
                output_names=list(self.outputs),
                source=self.source,
                header=self.header,
            )
        return found

    def run(
        self, inputs: Sequence[Any], shapes: Sequence[Any], dtypes: Sequence[Any], count: int, **template: Any
    ) -> tuple[Any, ...]:
        """`count` threads over the arrays, which MLX makes contiguous."""
        if not count:
            return tuple(mx.zeros(s, dtype=d) for s, d in zip(shapes, dtypes, strict=True))
        found = self.made()(
            inputs=[one.reshape(1) if one.ndim == 0 else one for one in inputs],  # else they come by reference
            template=list(template.items()), grid=(count, 1, 1),
            threadgroup=(min(count, GROUP), 1, 1), output_shapes=list(shapes), output_dtypes=list(dtypes),
        )  # fmt: skip
        return tuple(found)


_MADE: dict[MetalSource, Any] = {}

THREEFRY = MetalSource(
    "mlcore_threefry",
    ("words",),
    ("bits",),
    """
    const uint i = thread_position_in_grid.x;
    const uint key[3] = {words[0], words[1], words[0] ^ words[1] ^ 0x1BD11BDAu};
    const uint turns[2][4] = {{13u, 15u, 26u, 6u}, {17u, 29u, 16u, 24u}};
    uint x1 = i + words[2];
    uint x0 = words[3] + (x1 < i ? 1u : 0u);  // the carry into the counter's upper half
    x0 += key[0];
    x1 += key[1];
    for (uint block = 0; block < 5; ++block) {
        for (uint k = 0; k < 4; ++k) {
            const uint turn = turns[block % 2][k];
            x0 += x1;
            x1 = ((x1 << turn) | (x1 >> (32u - turn))) ^ x0;
        }
        x0 += key[(block + 1) % 3];
        x1 += key[(block + 2) % 3] + block + 1;
    }
    bits[i] = x0 ^ x1;
""",
)

ADAM = MetalSource(
    "mlcore_adam",
    ("p", "g", "m", "v", "numbers"),
    ("new_p", "new_m", "new_v"),
    """
    const uint i = thread_position_in_grid.x;
    const float keep = numbers[0], decay = numbers[1], beta1 = numbers[2], rest1 = numbers[3];
    const float beta2 = numbers[4], rest2 = numbers[5], root = numbers[6], eps = numbers[7], rate = numbers[8];
    const float weight = (float)p[i] * keep;
    const float slope = (float)g[i] + (float)p[i] * decay;
    const float first = (float)m[i] * beta1 + slope * rest1;
    const float second = (float)v[i] * beta2 + slope * slope * rest2;
    new_p[i] = (T)(weight - first * rate / (metal::precise::sqrt(second) * root + eps));
    new_m[i] = (T)first;
    new_v[i] = (T)second;
""",
)

INTEGER_MATMUL = MetalSource(
    "mlcore_integer_matmul",
    ("a", "b", "sizes"),
    ("out",),
    """
    const uint i = thread_position_in_grid.x;
    const uint rows = sizes[0], inner = sizes[1], columns = sizes[2];
    const uint column = i % columns, row = (i / columns) % rows, batch = i / (columns * rows);
    const size_t left = ((size_t)batch * rows + row) * inner, right = (size_t)batch * inner * columns + column;
    T total = 0;
    for (uint k = 0; k < inner; ++k) total += a[left + k] * b[right + (size_t)k * columns];
    out[i] = total;
""",
)
SOURCES = (THREEFRY, ADAM, INTEGER_MATMUL)


def threefry(key: tuple[int, int], offset: int, count: int) -> Any:
    """`count` words of Threefry-2x32 in one launch; the twin is `creation.threefry`."""
    words = np.array([key[0], key[1], offset & 0xFFFFFFFF, (offset >> 32) & 0xFFFFFFFF], dtype=np.uint32)
    return THREEFRY.run([mx.array(words)], [(count,)], [mx.uint32], count)[0]


def adam_numbers(
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool, step: int
) -> list[float]:
    """What the kernel takes, worked out in double precision."""
    return [
        1 - lr * weight_decay if decoupled else 1.0, 0.0 if decoupled else weight_decay, beta1, 1 - beta1,
        beta2, 1 - beta2, 1 / math.sqrt(1 - beta2**step), eps, lr / (1 - beta1**step),
    ]  # fmt: skip


def adam(p: Any, g: Any, m: Any, v: Any, *numbers: Any) -> tuple[Any, ...]:
    """One parameter's Adam step in one launch; the twin is `steps.adam`."""
    given = mx.array(np.array(adam_numbers(*numbers), dtype=np.float32))
    return ADAM.run([p, g, m, v, given], [p.shape] * 3, [p.dtype] * 3, p.size, T=p.dtype)


def integer_matmul(x1: Any, x2: Any) -> Any:
    """Integers modulo their width, a thread for each element; the twin is `linalg.integer_product`."""
    batch = tuple(mx.broadcast_shapes(x1.shape[:-2], x2.shape[:-2]))
    (rows, inner), columns = x1.shape[-2:], x2.shape[-1]
    a = mx.broadcast_to(x1, (*batch, rows, inner))
    b = mx.broadcast_to(x2, (*batch, inner, columns))
    shape = (*batch, rows, columns)
    if not inner:
        return mx.zeros(shape, dtype=x1.dtype)
    kind = UNSIGNED[x1.dtype.size]  # signed overflow is nothing to rely on
    sizes = mx.array(np.array([rows, inner, columns], dtype=np.uint32))
    found = INTEGER_MATMUL.run([a.view(kind), b.view(kind), sizes], [shape], [kind], math.prod(shape), T=kind)
    return found[0].view(x1.dtype)


UNSIGNED = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32, 8: mx.uint64}
