"""An opened checkpoint of PyTorch's: its tensors by name, and the structure that they lie in."""

from __future__ import annotations

import collections
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlcore.io.opened import Array, Buffer, TensorInfo, Weights
from mlcore.io.source import Bytes, Source
from mlcore.io.torch_file.contents import open_contents
from mlcore.io.torch_file.outline import Outline
from mlcore.io.torch_file.parts import Kind, Strided

_SMALL: Final = 1 << 15  # what is read together with its neighbours


def open_torch(path: Path) -> TorchFile:
    """Open a checkpoint of either container."""
    return TorchFile(path)


class TorchFile(Weights):
    """The tensors of a checkpoint by their path in what was saved, such as ``optimizer.state.0.exp_avg``.

    Tensors that share elements in the file share them in memory too, and are read-only arrays then: values that are
    never written to can be shared. `read` checks the CRC of what it reads from a zip; `view` maps the file, and checks
    nothing but that the tensor lies in it.
    """

    def __init__(self, path: Path) -> None:
        self._source = Source(path)
        try:
            self._contents = open_contents(self._source)
            outline = Outline(self._source, self._contents.tree)
        except BaseException:
            self._source.close()
            raise
        self._tree, self._tensors = outline.tree, outline.tensors
        self._shared = self._find_shared()
        self._checked: set[str] = set()
        self._kept: dict[tuple[Any, ...], Array] = {}
        super().__init__(path, {name: _info(name, one) for name, one in self._tensors.items()})

    def tree(self) -> Any:
        return self._tree

    def read(self, name: str, buffer: Buffer = np.empty) -> Array:
        self.info(name)
        tensor = self._tensors[name]
        if tensor.storage.key in self._shared and tensor.size:
            array = _strided(
                self._whole(tensor), tensor, tensor.offset + tensor.storage.start // tensor.kind.itemsize
            )
            array.flags.writeable = False
            return array
        if tensor.in_order:
            return self._elements(tensor, tensor.start, tensor.shape, buffer)
        if tensor.reach < tensor.size:  # such as an expanded scalar: no more memory than there are elements
            array = _strided(self._elements(tensor, tensor.start, (tensor.reach,)), tensor, 0)
            array.flags.writeable = False
            return array
        array = buffer(tensor.shape, tensor.kind.numpy)
        array[...] = _strided(self._elements(tensor, tensor.start, (tensor.reach,)), tensor, 0)
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
        return _strided(raw.view(tensor.kind.numpy), tensor, 0)

    def close(self) -> None:
        self._kept.clear()
        self._source.close()

    def _find_shared(self) -> set[str]:
        """The storages of which some elements are in several tensors, as those of tied weights are."""
        spans: collections.Counter[str] = collections.Counter()
        for tensor in self._tensors.values():
            spans[tensor.storage.key] += tensor.reach * tensor.kind.itemsize
        return {key for key, size in spans.items() if size > self._contents.places[key].size}

    def _foreign(self, kind: Kind) -> bool:
        """Whether the elements' bytes are in the other order than this machine's."""
        return kind.swap > 1 and self._contents.big_endian != (sys.byteorder == "big")

    def _as_it_is(self, tensor: Strided) -> bool:
        """Whether the bytes of its elements are in the file what they are in memory."""
        changed = tensor.conjugated or tensor.negated or tensor.kind.name in ("bool", "complex32")
        return not changed and not self._foreign(tensor.kind)

    def _whole(self, tensor: Strided) -> Array:
        """All of a tensor's storage as elements of its kind, kept while the file is open."""
        key = (tensor.storage.key, tensor.kind.name, tensor.conjugated, tensor.negated)
        if key not in self._kept:
            count = self._contents.places[tensor.storage.key].size // tensor.kind.itemsize
            self._kept[key] = self._elements(tensor, 0, (count,))
        return self._kept[key]

    def _elements(
        self, like: Strided, start: int, shape: tuple[int, ...], buffer: Buffer = np.empty
    ) -> Array:
        """New elements from byte `start` of a tensor's storage, as many as `shape` has, as that tensor means them."""
        kind = like.kind
        array = buffer(shape, kind.numpy)
        if not array.flags.c_contiguous:
            array = np.empty(shape, kind.numpy)
        flat = array.reshape(-1)
        if kind.name == "complex32":
            halves = np.empty((flat.size, 2), np.float16)
            self._fetch(like, start, halves.reshape(-1).view(np.uint8))
            halves = halves.byteswap() if self._foreign(kind) else halves
            flat.real, flat.imag = halves[:, 0], halves[:, 1]
        else:
            raw = flat.view(np.uint8)
            self._fetch(like, start, raw)
            if kind.name == "bool":
                np.not_equal(raw, 0, out=flat)  # a byte of 2 would equal neither truth value
            elif self._foreign(kind):
                raw.view(f"u{kind.swap}").byteswap(inplace=True)
        if like.conjugated:
            np.conjugate(flat, out=flat)
        if like.negated:
            np.negative(flat, out=flat)
        return array

    def _fetch(self, tensor: Strided, start: int, raw: Bytes) -> None:
        """Fill `raw` from byte `start` of a tensor's storage, checked against the CRC of all of it."""
        place, source, archive = (
            self._contents.places[tensor.storage.key],
            self._source,
            self._contents.archive,
        )
        member, size = place.member, len(raw)
        if member is not None and archive is not None:
            if member.compressed:
                if (member.name,) not in self._kept:
                    self._kept[(member.name,)] = archive.array(member)
                raw[:] = self._kept[(member.name,)][start : start + size]
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
    assert tensor.kind.numpy is not None  # refused when it was opened
    nbytes = tensor.size * tensor.kind.itemsize
    return TensorInfo(name, tensor.kind.numpy.name, tensor.shape, nbytes, tensor.kind.name)


def _strided(elements: Array, tensor: Strided, offset: int) -> Array:
    """A tensor's elements among those that it spans, of which the first is at `offset`."""
    size = elements.itemsize
    strides = tuple(size * step for step in tensor.strides)
    return np.ndarray(tensor.shape, elements.dtype, elements.view(np.uint8).data, offset * size, strides)
