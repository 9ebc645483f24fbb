"""Memory that a worker process writes and the program reads: blocks without a name, so that none can be left behind.

On POSIX a block is an anonymous file (memfd where there is one) whose descriptor goes over the worker's socket; the
system frees it with the last process that maps it, however that process ended. On Windows it is a tagged mapping.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import pickle
import socket
import sys
import tempfile
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from mlcore import dispatch, dtypes
from mlcore.backends import detect
from mlcore.tensor import Tensor, TensorBase, wrap

ALIGNMENT: Final = 64
INLINE: Final = 8192  # a message of more bytes than this goes through a block: a pipe never fills up
IDLE: Final = 8  # batches after which a block that was not needed gives its memory back
# Bytes of a tensor that is worth lending memory to: small ones would keep a block for long.
LARGE: Final = 1 << 16
Array = np.ndarray[Any, Any]
Holds = dict[int, "Block"]


class Block:
    """One piece of shared memory. `number` names it between the two sides."""

    __slots__ = ("fd", "memory", "number", "size", "start", "tag", "used")

    def __init__(self, number: int, size: int, fd: int = -1, tag: str = "") -> None:
        self.number, self.size, self.fd, self.tag = number, size, fd, tag
        self.used: int | None = None  # when it was written last, in batches; None: it is empty
        if sys.platform == "win32":
            self.memory = mmap.mmap(-1, size, tagname=tag)
        else:
            self.memory = mmap.mmap(fd, size)
        whole = np.frombuffer(self.memory, dtype=np.uint8)
        self.start = whole.__array_interface__["data"][0]

    @classmethod
    def new(cls, number: int, size: int) -> Block:
        """A new block of at least `size` bytes."""
        size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        if sys.platform == "win32":
            return cls(number, size, tag=f"mlcore-{os.getpid()}-{number}-{os.urandom(4).hex()}")
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("mlcore-loader")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, size)
        return cls(number, size, fd)

    def send(self, connection: Any) -> None:
        """Hand the descriptor to the other side, after the message that announces it; it is not needed here then."""
        if sys.platform != "win32":
            with socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as way:
                socket.send_fds(way, [b"m"], [self.fd])
            self.close_descriptor()

    @classmethod
    def receive(cls, connection: Any, number: int, size: int, tag: str) -> Block:
        """The block that the message before announced."""
        if sys.platform == "win32":
            return cls(number, size, tag=tag)
        with socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as way:
            _, found, _, _ = socket.recv_fds(way, 1, 1)
        if not found:
            raise EOFError
        block = cls(number, size, found[0])
        block.close_descriptor()
        return block

    def close_descriptor(self) -> None:
        """The mapping stays without it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def empty(self) -> None:
        """Give its memory back to the system; it can be written to again."""
        self.used = None
        if hasattr(mmap, "MADV_REMOVE"):
            with contextlib.suppress(OSError):  # some kinds of file cannot
                self.memory.madvise(mmap.MADV_REMOVE)

    def view(self, offset: int, dtype: Any, shape: tuple[int, ...]) -> Array:
        """An array in this memory."""
        return np.ndarray(shape, dtype, self.memory, offset)

    def cells(self) -> memoryview:
        """The memory as int64 numbers."""
        return memoryview(self.memory).cast("q")


class Pending:
    """An array that will be a tensor on the program's side."""

    __slots__ = ("array",)

    def __init__(self, array: Array) -> None:
        self.array = array


class Arena:
    """A worker's blocks: one is written for each batch, and used again when the program has read it."""

    def __init__(self, take_back: Callable[[], None]) -> None:
        self.take_back, self.chosen = take_back, False
        self.free: Holds = {}
        self.fresh: list[
            tuple[Block, int]
        ] = []  # not announced yet, and the block that each replaces (-1: none)
        self.count = 0
        self.block: Block | None = None
        self.used = 0
        self.batches = 0
        self.most = 0  # bytes of the largest block so far

    def begin(self) -> None:
        """A new batch. Its block is chosen when something is to be written: until then one more may come back."""
        self.block, self.used, self.chosen = None, 0, False

    def _choose(self) -> None:
        """The largest free block, if there is one: of several, always the same ones, so that others stay unused."""
        if self.chosen:
            return
        self.chosen = True
        self.take_back()
        self.batches += 1
        self.block = max(self.free.values(), key=lambda one: (one.size, -one.number), default=None)
        for one in self.free.values():
            if one is not self.block and one.used is not None and self.batches - one.used > IDLE:
                one.empty()
        if self.block is not None:
            self.block.used = self.batches

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Room for an array: in the block where it fits, else for now in the worker's own memory."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        self._choose()
        if self.block is None:  # what is not written to costs no memory, so room for more does no harm
            self.block = self._grow(max(2 * size, self.most))
            self.free[self.block.number] = self.block
        if self.used + size > self.block.size:
            return np.empty(shape, dtype)
        found = self.block.view(self.used, dtype, shape)
        self.used += -(-size // ALIGNMENT) * ALIGNMENT
        return found

    def offset(self, array: Array) -> int | None:
        """Where in the block an array lies that `empty` gave; None for another."""
        if self.block is None or not array.flags.c_contiguous or not array.nbytes:
            return None
        place = int(array.__array_interface__["data"][0]) - self.block.start
        return place if 0 <= place < self.block.size else None

    def pack(self, tree: Any) -> tuple[int, Any]:
        """Write a batch: the block's number (-1: none was needed), and its head or where in the block that is."""
        packer = _Packer(self)
        packer.dump(tree)
        head = packer.stream.getbuffer()
        return self._store(packer, head)

    def _store(self, packer: _Packer, head: Any) -> tuple[int, Any]:
        inline = len(head) <= INLINE
        end = packer.used + (0 if inline else len(head))
        if not end:
            return -1, bytes(head)
        self._choose()
        block = self.block
        if block is None or end > block.size:
            block = self._grow(end + end // 8)
            for place, array in packer.inside:  # what collation has written into the smaller block
                block.view(place, array.dtype, array.shape)[...] = array
        for place, array in packer.outside:
            block.view(place, array.dtype, array.shape)[...] = array
        if not inline:
            block.memory[packer.used : end] = bytes(head)
        self.free.pop(block.number, None)
        self.block = None
        return block.number, bytes(head) if inline else (packer.used, end)

    def _grow(self, size: int) -> Block:
        """A larger block, in place of the one that was too small."""
        replaced = -1 if self.block is None else self.free.pop(self.block.number).number
        self.count += 1
        self.most = max(self.most, size)
        block = Block.new(self.count, self.most)
        block.used = self.batches
        self.fresh.append((block, replaced))
        return block

    def release(self, block: Block) -> None:
        """The program has read it."""
        self.free[block.number] = block


class _Packer(pickle.Pickler):
    """Pickles a batch without its arrays: those are given places in a block."""

    def __init__(self, arena: Arena) -> None:
        self.stream = io.BytesIO()
        super().__init__(self.stream, protocol=5)
        self.arena, self.used = arena, arena.used
        self.inside: list[tuple[int, Array]] = []
        self.outside: list[tuple[int, Array]] = []
        self.places: dict[int, tuple[int, Any]] = {}  # an array that comes twice is written once

    def persistent_id(self, one: Any) -> Any:
        kind = type(one)
        if kind is np.ndarray:
            return None if one.dtype.hasobject else self._place(one, None)
        if kind is Pending:
            return self._place(one.array, "")
        if kind is Tensor and one.node is None:
            device = "" if one.device is detect.resolve(None) else one.device.id
            return self._place(one.device.to_host(one.array), device, one.requires_grad)
        return None

    def _place(self, array: Array, device: str | None, grad: bool = False) -> Any:
        place = self.places.get(id(array), (None, None))[0]
        if place is None:
            place = self.arena.offset(array)
            if place is not None:
                self.inside.append((place, array))
            else:
                place, self.used = self.used, self.used + -(-array.nbytes // ALIGNMENT) * ALIGNMENT
                self.outside.append((place, array))
            self.places[id(array)] = (place, array)
        return place, array.dtype, array.shape, device, grad


class _Unpacker(pickle.Unpickler):
    def __init__(self, head: bytes, block: Block | None, lend: bool) -> None:
        super().__init__(io.BytesIO(head))
        self.block, self.lend = block, lend
        self.lent: Array | None = None  # the whole block, as the base of the arrays that lie in it

    def persistent_load(self, place: Any) -> Any:
        offset, dtype, shape, device, grad = place
        if self.block is None or not np.prod(shape):  # nothing but empty arrays needs no block
            view = np.empty(shape, dtype)
        else:
            view = self.block.view(offset, dtype, shape)
        if device is None:
            return view.copy()
        where = detect.resolve(device or None)
        if self.lend and view.nbytes >= LARGE and hasattr(where.backend, "buffer"):
            return self._borrowed(offset, view, where, grad)
        found: TensorBase = dispatch.from_data(view, None, device or None)
        # the methods are attached to Tensor
        return found.requires_grad_() if grad else found  # type: ignore[attr-defined]

    def _borrowed(self, offset: int, view: Array, device: Any, grad: bool) -> Any:
        """A tensor that lies in the block, on a device whose memory is the host's."""
        assert self.block is not None
        if self.lent is None:
            self.lent = np.frombuffer(self.block.memory, np.uint8)
        array = self.lent[offset : offset + view.nbytes].view(view.dtype).reshape(view.shape)
        found = wrap(array, device, dtypes.from_numpy(view.dtype), view.shape)
        return found.requires_grad_() if grad else found


def unpack(head: Any, block: Block | None, lend: bool = False) -> tuple[Any, Array | None]:
    """The batch; and with `lend`, an array that lives as long as tensors lie in the block, if large ones do."""
    if not isinstance(head, bytes):
        assert block is not None
        head = bytes(block.memory[head[0] : head[1]])
    unpacker = _Unpacker(head, block, lend)
    return unpacker.load(), unpacker.lent
