"""From the blocks of ggml's quantised types to float32: each type is a layout of bytes and a few array operations.

A block of 32 (or 256) weights has small whole numbers and a scale for them; K-quants have scales of scales. The layouts
are those of ggml (ggml-common.h, ggml-quants.c); the operations come in its order, so results are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]
Decode = Callable[[Array, Array, str], None]

_CHUNK: Final = 1 << 18  # elements that are decoded at a time: 1 MiB of float32, which stays in the cache


@dataclass(frozen=True, slots=True)
class Quant:
    """A quantised type: `elements` in each block of `nbytes`. Without `decode`, its values cannot be had here."""

    elements: int
    nbytes: int
    decode: Decode | None = None


def dequantise(raw: Array, quant: Quant, order: str, out: Array) -> None:
    """Decode the blocks in `raw` (bytes) into `out` (float32); `order` is '<' or '>', that of the numbers in blocks."""
    assert quant.decode is not None
    blocks, values = raw.reshape(-1, quant.nbytes), out.reshape(-1, quant.elements)
    step = _CHUNK // quant.elements
    with np.errstate(all="ignore"):  # a scale may be infinite, or no number
        for start in range(0, len(blocks), step):
            quant.decode(blocks[start : start + step], values[start : start + step], order)


def _half(blocks: Array, at: int, order: str) -> Array:
    """A float16 of each block, as a column of float32."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(f"{order}f2").astype(np.float32)


def _nibbles(packed: Array) -> Array:
    """The low halves of bytes, then the high ones: (n, m) to (n, 2, m)."""
    halves = np.empty((len(packed), 2, packed.shape[1]), np.uint8)
    np.bitwise_and(packed, 15, out=halves[:, 0])
    np.right_shift(packed, 4, out=halves[:, 1])
    return halves


def _fifth_bits(mask: Array) -> Array:
    """32 bits of each block as 16 in the place of a fifth bit: (n, 4) to (n, 2, 16)."""
    return (np.unpackbits(np.ascontiguousarray(mask), axis=1, bitorder="little") << 4).reshape(-1, 2, 16)


def _q4_0(blocks: Array, out: Array, order: str) -> None:
    out[:] = _nibbles(blocks[:, 2:18]).reshape(-1, 32)
    out -= 8
    out *= _half(blocks, 0, order)


def _q4_1(blocks: Array, out: Array, order: str) -> None:
    out[:] = _nibbles(blocks[:, 4:20]).reshape(-1, 32)
    out *= _half(blocks, 0, order)
    out += _half(blocks, 2, order)


def _q5_0(blocks: Array, out: Array, order: str) -> None:
    out[:] = (_nibbles(blocks[:, 6:22]) | _fifth_bits(blocks[:, 2:6])).reshape(-1, 32)
    out -= 16
    out *= _half(blocks, 0, order)


def _q5_1(blocks: Array, out: Array, order: str) -> None:
    out[:] = (_nibbles(blocks[:, 8:24]) | _fifth_bits(blocks[:, 4:8])).reshape(-1, 32)
    out *= _half(blocks, 0, order)
    out += _half(blocks, 2, order)


def _q8_0(blocks: Array, out: Array, order: str) -> None:
    out[:] = blocks[:, 2:34].view(np.int8)
    out *= _half(blocks, 0, order)


def _q8_k(blocks: Array, out: Array, order: str) -> None:
    out[:] = blocks[:, 4:260].view(np.int8)
    out *= np.ascontiguousarray(blocks[:, :4]).view(f"{order}f4").astype(np.float32)


_PAIRS: Final = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)


def _crumbs(packed: Array) -> Array:
    """Two bits of each byte at a time, 32 bytes at a time: (n, 64) to (n, 2, 4, 32)."""
    return (packed.reshape(-1, 2, 1, 32) >> _PAIRS) & 3


def _scale(out: Array, groups: int, scales: Array, less: Array | None = None) -> None:
    """Multiply each of the groups of equal length by its scale, and take something from it."""
    grouped = out.reshape(len(out), groups, -1)
    grouped *= scales[:, :, None]
    if less is not None:
        grouped -= less[:, :, None]


def _q2_k(blocks: Array, out: Array, order: str) -> None:
    scales = blocks[:, :16]
    out[:] = _crumbs(np.ascontiguousarray(blocks[:, 16:80])).reshape(-1, 256)
    _scale(out, 16, _half(blocks, 80, order) * (scales & 15), _half(blocks, 82, order) * (scales >> 4))


def _q3_k(blocks: Array, out: Array, order: str) -> None:
    low = _crumbs(np.ascontiguousarray(blocks[:, 32:96]))
    # Of each of the 32 bytes of the mask, bit k is the third bit of group k of 32; where it is not set, 4 is taken.
    bits = np.arange(8, dtype=np.uint8).reshape(1, 2, 4, 1)
    third = ((np.ascontiguousarray(blocks[:, :32]).reshape(-1, 1, 1, 32) >> bits) & 1) << 2
    packed = blocks[:, 96:108]
    four = _nibbles(packed[:, :8]).reshape(-1, 16)
    two = ((packed[:, None, 8:12] >> _PAIRS.reshape(1, 4, 1)) & 3).reshape(-1, 16)
    scales = ((two << 4) | four).astype(np.int8) - 32
    out[:] = (low | third).reshape(-1, 256)
    out -= 4
    _scale(out, 16, _half(blocks, 108, order) * scales)


def _six_bits(packed: Array) -> tuple[Array, Array]:
    """Eight scales and eight minima of 6 bits in 12 bytes."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 2) & 48)], axis=1)
    minima = np.concatenate([second & 63, (third >> 4) | ((second >> 2) & 48)], axis=1)
    return scales, minima


def _q4_k(blocks: Array, out: Array, order: str) -> None:
    scales, minima = _six_bits(blocks[:, 4:16])
    out[:] = _nibbles(np.ascontiguousarray(blocks[:, 16:144]).reshape(-1, 32)).reshape(-1, 256)
    _scale(out, 8, _half(blocks, 0, order) * scales, _half(blocks, 2, order) * minima)


def _q5_k(blocks: Array, out: Array, order: str) -> None:
    scales, minima = _six_bits(blocks[:, 4:16])
    low = _nibbles(np.ascontiguousarray(blocks[:, 48:176]).reshape(-1, 32)).reshape(-1, 8, 32)
    bits = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    fifth = ((np.ascontiguousarray(blocks[:, 16:48]).reshape(-1, 1, 32) >> bits) & 1) << 4
    out[:] = (low | fifth).reshape(-1, 256)
    _scale(out, 8, _half(blocks, 0, order) * scales, _half(blocks, 2, order) * minima)


def _q6_k(blocks: Array, out: Array, order: str) -> None:
    # Of each half of 128: 64 bytes with four bits of two weights each, 32 bytes with two bits of four weights each.
    low = _nibbles(np.ascontiguousarray(blocks[:, :128]).reshape(-1, 64)).reshape(-1, 2, 4, 32)
    high = _crumbs(np.ascontiguousarray(blocks[:, 128:192])) << 4
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8)
    out[:] = (low | high).reshape(-1, 256)
    out -= 32
    _scale(out, 16, _half(blocks, 208, order) * scales)


QUANTS: Final[dict[str, Quant]] = {
    "Q4_0": Quant(32, 18, _q4_0), "Q4_1": Quant(32, 20, _q4_1), "Q5_0": Quant(32, 22, _q5_0),
    "Q5_1": Quant(32, 24, _q5_1), "Q8_0": Quant(32, 34, _q8_0), "Q2_K": Quant(256, 84, _q2_k),
    "Q3_K": Quant(256, 110, _q3_k),
    "Q4_K": Quant(256, 144, _q4_k), "Q5_K": Quant(256, 176, _q5_k), "Q6_K": Quant(256, 210, _q6_k),
    "Q8_K": Quant(256, 292, _q8_k),
    "Q8_1": Quant(32, 40), "IQ2_XXS": Quant(256, 66), "IQ2_XS": Quant(256, 74), "IQ3_XXS": Quant(256, 98),
    "IQ1_S": Quant(256, 50), "IQ4_NL": Quant(32, 18), "IQ3_S": Quant(256, 110), "IQ2_S": Quant(256, 82),
    "IQ4_XS": Quant(256, 136), "IQ1_M": Quant(256, 56), "TQ1_0": Quant(256, 54), "TQ2_0": Quant(256, 66),
    "MXFP4": Quant(32, 17),
}  # fmt: skip
