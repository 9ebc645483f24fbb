"""The head of a GGUF file: metadata, and where each tensor lies. Versions 2 and 3, of either byte order.

The format: docs/gguf.md of ggml. Counts and lengths are checked against what is left of the file before anything is
made of them.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, Final, Literal

import ml_dtypes
import numpy as np

from mlcore.io.gguf.blocks import QUANTS
from mlcore.io.source import Source

MAGIC: Final = b"GGUF"
ALIGNMENT: Final = "general.alignment"
MAX_KEYS: Final = 100_000
MAX_TENSORS: Final = 100_000
MAX_DIMENSIONS: Final = 4  # ggml's
MAX_NESTING: Final = 4  # arrays in arrays

TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip
PLAIN: Final[dict[str, np.dtype[Any]]] = {
    "F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16),
    "F64": np.dtype(np.float64), "I8": np.dtype(np.int8), "I16": np.dtype(np.int16), "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
}  # fmt: skip
NUMBERS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
BOOL, STRING, ARRAY = 7, 8, 9
_ESCAPED: Final = "surrogateescape"  # some tokenizers have words that are no text


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor: its type, its shape with the fastest dimension last, and where its bytes lie in the file."""

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


class Head:
    """What stands before the tensors. `order` is '<' or '>'."""

    def __init__(self, source: Source) -> None:
        self._source, self._at = source, 0
        self._data: Any = b""
        self.metadata: dict[str, Any] = {}
        self._begin()
        tensors, keys = self._number("Q", "the number of tensors"), self._number("Q", "the number of keys")
        for what, count, most, least in (("keys", keys, MAX_KEYS, 13), ("tensors", tensors, MAX_TENSORS, 24)):
            if count > most or count * least > source.size:
                source.fail(
                    f"it announces {count} {what}", cause=f"at most {most}, and what the file has room for"
                )
        for _ in range(keys):
            self._pair()
        entries = [self._tensor() for _ in range(tensors)]
        self.entries = self._placed(entries)

    def _begin(self) -> None:
        source = self._source
        first = source.read(0, min(8, source.size), "its first bytes")
        if len(first) < 8 or first[:4] != MAGIC:
            source.fail(f"it begins with {first[:4]!r}, which is no GGUF file")
        (version,) = struct.unpack("<I", first[4:])
        self.order: Literal["<", ">"] = "<" if version & 0xFFFF else ">"
        (version,) = struct.unpack(f"{self.order}I", first[4:])
        if version not in (2, 3):
            source.fail(f"it is of GGUF version {version}", cause="versions 2 and 3 are read",
                        fix="convert it with gguf's own tools")  # fmt: skip
        self._data, self._at = source.pages(), 8
        self._read = {code: struct.Struct(self.order + code) for code in {*NUMBERS.values()}}

    def _number(self, code: str, what: str) -> Any:
        number, at = self._read[code], self._at
        if at + number.size > self._source.size:
            self._source.fail(f"it is truncated at {what}", offset=at)
        self._at = at + number.size
        return number.unpack_from(self._data, at)[0]

    def _text(self, what: str, errors: str = "strict") -> str:
        length = self._number("Q", what)
        start = self._at
        if length > self._source.size - start:
            self._source.fail(
                f"{what} is a text of {length} bytes, {self._source.size - start} are left", offset=start
            )
        self._at = start + length
        raw: bytes = self._data[start : self._at]
        try:
            return raw.decode("utf-8", errors)
        except UnicodeDecodeError:
            self._source.fail(f"{what} is {raw[:40]!r}, which is no text", offset=start)

    def _pair(self) -> None:
        start = self._at
        key = self._text("a key of the metadata")
        if key in self.metadata:
            self._source.fail(f"the key {key!r:.80} stands twice in its metadata", offset=start)
        self.metadata[key] = self._value(self._number("I", f"the type of {key!r:.80}"), key, 0)

    def _value(self, kind: int, key: str, depth: int) -> Any:
        if kind == STRING:
            return self._text(f"{key!r:.80}", _ESCAPED)
        if kind == ARRAY and depth < MAX_NESTING:
            return self._array(key, depth + 1)
        code = NUMBERS.get(kind)
        if code is None:
            self._source.fail(
                f"{key!r:.80} has a value of type {kind}", offset=self._at, cause="types 0 to 12 are known"
            )
        return self._number(code, f"{key!r:.80}")

    def _array(self, key: str, depth: int) -> Any:
        """A list of texts or lists; an array of numbers, which may be many."""
        what = f"{key!r:.80}"
        kind, count = self._number("I", what), self._number("Q", what)
        size = 8 if kind == STRING else 12 if kind == ARRAY else self._read[NUMBERS.get(kind, "B")].size
        if count * size > self._source.size - self._at:
            self._source.fail(
                f"{what} announces {count} values, {self._source.size - self._at} bytes are left",
                offset=self._at,
            )
        if kind == STRING:
            return self._texts(count, what)
        if kind not in NUMBERS:
            return [self._value(kind, key, depth) for _ in range(count)]
        dtype = np.dtype(NUMBERS[kind]).newbyteorder(self.order)
        if kind == BOOL:
            dtype = np.dtype(np.uint8)
        numbers = np.frombuffer(self._data, dtype, count, self._at) if count else np.empty(0, dtype)
        self._at += numbers.nbytes
        return numbers != 0 if kind == BOOL else numbers.astype(dtype.newbyteorder("="))

    def _texts(self, count: int, what: str) -> list[str]:
        """Many texts: a tokenizer has a hundred thousand, so this is one loop without calls of ours."""
        data, at, size = self._data, self._at, self._source.size
        length_at = self._read["Q"].unpack_from
        found: list[str] = []
        add = found.append
        for _ in range(count):
            start = at + 8
            at = start + length_at(data, at)[0] if start <= size else size + 1
            if at > size:
                self._source.fail(f"text {len(found)} of {what} reaches beyond the file", offset=start)
            add(data[start:at].decode("utf-8", _ESCAPED))
        self._at = at
        return found

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        start = self._at
        name = self._text("a tensor's name")
        count = self._number("I", f"tensor {name!r:.80}")
        if count > MAX_DIMENSIONS:
            self._source.fail(f"tensor {name!r:.80} has {count} dimensions, at most {MAX_DIMENSIONS} are known",
                              offset=start)  # fmt: skip
        sizes = tuple(self._number("Q", f"tensor {name!r:.80}") for _ in range(count))
        kind = self._number("I", f"tensor {name!r:.80}")
        return name, sizes[::-1], kind, self._number("Q", f"tensor {name!r:.80}")

    def _placed(self, found: list[tuple[str, tuple[int, ...], int, int]]) -> dict[str, Entry]:
        """The tensors by name, each in its own bytes of the file."""
        alignment = self.metadata.get(ALIGNMENT, 32)
        if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
            self._source.fail(f"its alignment is {alignment!r:.40}, which is no power of two")
        begin = -(-self._at // alignment) * alignment
        self.data_start = begin
        entries: dict[str, Entry] = {}
        for name, shape, kind, offset in found:
            if name in entries:
                self._source.fail(f"tensor {name!r:.80} stands twice in it")
            if offset % alignment:
                self._source.fail(f"tensor {name!r:.80} at {offset} is not at a multiple of {alignment}")
            entries[name] = Entry(name, *self._typed(name, shape, kind), begin + offset, 0)
        return self._measured(entries)

    def _typed(self, name: str, shape: tuple[int, ...], kind: int) -> tuple[str, tuple[int, ...]]:
        if math.prod(n for n in shape if n) >= 2**60:
            self._source.fail(f"tensor {name!r:.80} has the shape {shape}, which nothing can hold")
        return TYPES.get(kind, f"type {kind}"), shape

    def _measured(self, entries: dict[str, Entry]) -> dict[str, Entry]:
        end, last, sized = 0, "", {}
        for entry in sorted(entries.values(), key=lambda one: one.start):
            what = f"tensor {entry.name!r:.80}"
            nbytes = self._nbytes(entry)
            if entry.start < end and nbytes:
                self._source.fail(f"{what} at byte {entry.start} overlaps {last!r:.80}, which ends at {end}")
            self._source.check(entry.start, nbytes, what)
            sized[entry.name] = Entry(entry.name, entry.kind, entry.shape, entry.start, nbytes)
            if nbytes:
                end, last = entry.start + nbytes, entry.name
        return {name: sized[name] for name in entries}

    def _nbytes(self, entry: Entry) -> int:
        count = math.prod(entry.shape)
        if entry.kind in PLAIN:
            return count * PLAIN[entry.kind].itemsize
        quant = QUANTS.get(entry.kind)
        if quant is None:
            return 0  # unknown, and refused when it is read
        row = entry.shape[-1] if entry.shape else 1
        if row % quant.elements:
            self._source.fail(
                f"tensor {entry.name!r:.80} of type {entry.kind} has rows of {row}, no multiple of {quant.elements}"
            )
        return count // quant.elements * quant.nbytes
