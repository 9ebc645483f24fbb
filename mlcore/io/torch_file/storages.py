"""The storages that a pickle refers to, and their bytes in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mlcore.errors import DTypeError, UnsafeFileError
from mlcore.io.archive import Member
from mlcore.io.torch_file.machine import Reader
from mlcore.io.torch_file.opcodes import CONTAINER, Symbol
from mlcore.io.torch_file.parts import Storage, StorageKind, brief

MAX_KEY: Final = 200  # characters


@dataclass(frozen=True, slots=True)
class Place:
    """Where a storage's bytes lie. `member` is the archive's, if it is in one: it has a CRC, and may be compressed."""

    start: int
    size: int
    what: str
    member: Member | None = None


class Storages:
    """Makes one `Storage` for each key; `views` says that parts of storages have names too, as in the old container."""

    def __init__(self, *, views: bool = False) -> None:
        self.known: dict[str, Storage] = {}
        self._views = views

    def refer(self, reader: Reader, saved: Any) -> Storage:
        """The storage of a persistent id: "storage", class, key, device, elements; in old files a view of it too."""
        if type(saved) is not tuple or len(saved) < 2 or saved[0] != "storage":
            if type(saved) is tuple and saved and saved[0] == "module":
                name = saved[1].name if type(saved[1]) is Symbol else brief(saved[1])
                reader.fail(
                    f"it holds a whole module, {name}",
                    kind=UnsafeFileError,
                    cause="a module is code, and only its tensors are read",
                    fix="in PyTorch, load it and torch.save(model.state_dict(), ...)",
                )
            reader.fail(f"it refers to {brief(saved)}, which is no storage")
        if len(saved) != (6 if self._views else 5):
            reader.fail(f"it refers to a storage by {len(saved)} items")
        _, kind, key, device, count, *view = saved
        key = str(key) if type(key) is int else key
        fits = type(kind) is StorageKind and type(key) is str and len(key) <= MAX_KEY and type(count) is int
        if not fits or not 0 <= count < 2**60:
            reader.fail(f"it refers to a storage as ({', '.join(map(brief, saved))})")
        if kind.kind.refused:
            reader.fail(
                f"storage {key!r} is of dtype {kind.kind.name}",
                kind=DTypeError,
                cause=kind.kind.refused,
                fix="",
            )
        if device == "meta":
            reader.fail(f"storage {key!r} is of device meta, and has no values", cause="nothing was ever put into it",
                        fix="in PyTorch, give it values (to_empty, then load them) before it is saved")  # fmt: skip
        found = self.known.get(key)
        if found is None:
            reader.spend(4 * CONTAINER)
            found = self.known[key] = Storage(key, kind.kind, count)
        elif found.kind is not kind.kind or found.count != count:
            reader.fail(
                f"storage {key!r} has {found.count} elements of {found.kind.name} at one place, "
                f"and {count} of {kind.kind.name} at another"
            )
        return found if not view or view[0] is None else self._view(reader, found, view[0])

    def _view(self, reader: Reader, storage: Storage, view: Any) -> Storage:
        if type(view) is not tuple or len(view) != 3 or not all(type(n) is int for n in view[1:]):
            reader.fail(f"a part of storage {storage.key!r} is given as {brief(view)}")
        _, offset, count = view
        if min(offset, count) < 0 or offset + count > storage.count:
            reader.fail(
                f"elements {offset} to {offset + count} of storage {storage.key!r}, which has {storage.count}"
            )
        return Storage(storage.key, storage.kind, count, offset * storage.kind.itemsize)
