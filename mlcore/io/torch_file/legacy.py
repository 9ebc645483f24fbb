"""The container that PyTorch wrote before 1.6: five pickles one after the other, then the bytes of each storage.

The pickles are a magic number, the protocol, facts about the machine, what was saved, and the keys of the storages in
the order of their bytes; each storage begins with its number of elements. All numbers are little-endian, whatever
machine wrote them.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from mlcore.io.source import Source
from mlcore.io.torch_file.globals import NAMES
from mlcore.io.torch_file.machine import Names, Reader
from mlcore.io.torch_file.parts import brief
from mlcore.io.torch_file.storages import Place, Storages

MAGIC: Final = 0x1950A86A20F9469CFC6C
PROTOCOL: Final = 1001


class Legacy:
    """A file of that container: `tree` is what was saved, `places` tells where the bytes of its storages lie."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.storages = Storages(views=True)
        self._at = 0
        magic = self._next()
        if type(magic) is not int or magic != MAGIC:
            source.fail(
                "it is a pickle, but no checkpoint of PyTorch's",
                cause="it does not begin with PyTorch's number",
                fix="if you trust it, load it with what wrote it, and save its arrays with mlcore.save",
            )
        version = self._next()
        if type(version) is not int or version != PROTOCOL:
            source.fail(f"it is of protocol {brief(version)}", cause=f"PyTorch wrote {PROTOCOL} only")
        if (
            type(self._next()) is not dict
        ):  # what it tells of byte order is about the machine, not about the file
            source.fail("it says nothing of the machine that wrote it", offset=self._at)
        self.tree = self._next(self.storages)
        keys = self._next()
        self.places = self._find(keys)

    def _next(self, storages: Storages | None = None) -> Any:
        if storages is None:
            reader = Reader(self.source, self.source.pages(), 0, Names(), _no_storage, self._at)
        else:
            reader = Reader(self.source, self.source.pages(), 0, NAMES, storages.refer, self._at)
        value = reader.read()
        self._at = reader.at
        return value

    def _find(self, keys: Any) -> dict[str, Place]:
        """Where each storage lies: its size is in the file, and must be what the pickle says."""
        fail, known = self.source.fail, self.storages.known
        if type(keys) is not list or not all(type(key) is str for key in keys):
            fail("its list of storages is no list of keys", offset=self._at)
        if len(set(keys)) != len(keys) or set(keys) != known.keys():
            odd = ", ".join(map(brief, sorted(set(keys) ^ known.keys())[:3])) or "one twice"
            fail(f"its list of storages does not fit what was saved: {odd}", offset=self._at)
        places = {}
        for key in keys:
            storage, what = known[key], f"storage {key!r}"
            count = int.from_bytes(self.source.read(self._at, 8, what), "little", signed=True)
            if count != storage.count:
                fail(f"{what} has {count} elements in place of {storage.count}", offset=self._at)
            self.source.check(self._at + 8, storage.nbytes, what)
            places[key] = Place(self._at + 8, storage.nbytes, what)
            self._at += 8 + storage.nbytes
        if self._at != self.source.size:
            fail(f"{self.source.size - self._at} bytes follow the last storage", offset=self._at)
        return places


def _no_storage(reader: Reader, _: Any) -> NoReturn:
    reader.fail("a tensor stands before what was saved")
