"""An opened checkpoint of PyTorch's: its tensors by name, and the structure that they lie in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlcore.io.opened import Array, Buffer, TensorInfo, Weights
from mlcore.io.source import Bytes, Source
from mlcore.io.torch_file.contents import open_contents
from mlcore.io.torch_file.outline import Outline
from mlcore.io.torch_file.parts import Strided

_SMALL: Final = 1 << 15  # what is read together with its neighbours
_HALVES: Final = np.dtype([("real", np.float16), ("imag", np.float16)])


def open_torch(path: Path) -> TorchFile:
    """Open a checkpoint of either container."""
    return TorchFile(path)


class TorchFile(Weights):
    """The tensors of a checkpoint by their path in what was saved, such as ``optimizer.state.0.exp_avg``.

    A tensor that stands at several places has one name. `read` and ``weights[name]`` check the CRC of what they read
    from a zip; `view` maps the file, and checks nothing but that the tensor lies in it.
    """

    def __init__(self, path: Path) -> None:
        self._source = Source(path)
        try:
            self._contents = open_contents(self._source)
            outline = Outline(self._source, self._contents.tree)
            self._tree = outline.tree
        except BaseException:
            self._source.close()
            raise
        self._tensors = outline.tensors
        self._checked: set[str] = set()
        self._inflated: dict[str, Bytes] = {}
        super().__init__(path, {name: _info(name, one) for name, one in self._tensors.items()})

    def tree(self) -> Any:
        return self._tree

    def read(self, name: str, buffer: Buffer = np.empty) -> Array:
        self.info(name)
        tensor = self._tensors[name]
        kind = tensor.kind
        assert kind.numpy is not None  # refused when it was opened
        array = buffer(tensor.shape, kind.numpy)
        if not array.flags.c_contiguous:
            array = np.empty(tensor.shape, kind.numpy)
        if self._as_it_is(tensor) and tensor.in_order:
            self._fetch(tensor, array.reshape(-1).view(np.uint8))
        elif tensor.size:
            raw = np.empty(tensor.reach * kind.itemsize, np.uint8)
            self._fetch(tensor, raw)
            _decode(raw, tensor, self._contents.big_endian, array)
        return array

    def view(self, name: str) -> Array:
        self.info(name)
        tensor = self._tensors[name]
        place = self._contents.places[tensor.storage.key]
        itemsize = tensor.kind.itemsize
        mappable = place.member is None or not place.member.compressed
        if (
            not (mappable and self._as_it_is(tensor) and tensor.size)
            or (place.start + tensor.start) % itemsize
        ):
            return self.read(name)
        raw = self._source.mapped(place.start + tensor.start, tensor.reach * itemsize, place.what)
        return _strided(raw, tensor, tensor.kind.numpy)

    def close(self) -> None:
        self._inflated.clear()
        self._source.close()

    def _as_it_is(self, tensor: Strided) -> bool:
        """Whether the bytes of its elements are in the file what they are in memory."""
        plain = tensor.kind.name not in ("bool", "complex32") and not tensor.conjugated and not tensor.negated
        foreign = self._contents.big_endian != (sys.byteorder == "big")
        return plain and not (foreign and tensor.kind.swap > 1)

    def _fetch(self, tensor: Strided, raw: Bytes) -> None:
        """Put the bytes that a tensor spans into `raw`, checked against the CRC of all of its storage."""
        place, source = self._contents.places[tensor.storage.key], self._source
        member, archive = place.member, self._contents.archive
        start, size = tensor.start, len(raw)
        if member is not None and archive is not None:
            if member.compressed:
                if member.name not in self._inflated:
                    self._inflated[member.name] = archive.array(member)
                raw[:] = self._inflated[member.name][start : start + size]
                return
            if size == place.size > _SMALL:
                archive.check(member, source.fill(raw, place.start, place.what, crc=True))
                return
            if member.name not in self._checked:
                archive.verify(member)
                self._checked.add(member.name)
        if size <= _SMALL:
            raw[:] = np.frombuffer(source.read(place.start + start, size, place.what), np.uint8)
        else:
            source.fill(raw, place.start + start, place.what)


def _info(name: str, tensor: Strided) -> TensorInfo:
    assert tensor.kind.numpy is not None
    nbytes = tensor.size * tensor.kind.itemsize
    return TensorInfo(name, tensor.kind.numpy.name, tensor.shape, nbytes, tensor.kind.name)


def _strided(raw: Bytes, tensor: Strided, dtype: Any) -> Array:
    """A tensor's elements in the bytes that it spans."""
    size = tensor.kind.itemsize
    return np.ndarray(tensor.shape, dtype, raw.data, strides=tuple(size * step for step in tensor.strides))


def _decode(raw: Bytes, tensor: Strided, big_endian: bool, out: Array) -> None:
    """Write what the bytes mean into `out`."""
    kind = tensor.kind
    if kind.swap > 1 and big_endian != (sys.byteorder == "big"):
        raw = raw.view(f"u{kind.swap}").byteswap().view(np.uint8)
    if kind.name == "bool":
        np.not_equal(
            _strided(raw, tensor, np.uint8), 0, out=out
        )  # a byte of 2 would equal neither truth value
    elif kind.name == "complex32":
        halves = _strided(raw, tensor, _HALVES)
        out.real, out.imag = halves["real"], halves["imag"]
    else:
        out[...] = _strided(raw, tensor, kind.numpy)
    if tensor.conjugated:
        np.conjugate(out, out=out)
    if tensor.negated:
        np.negative(out, out=out)
