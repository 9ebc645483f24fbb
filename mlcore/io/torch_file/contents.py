"""What a checkpoint holds, whichever container it is in: the structure that was saved, and where its bytes lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlcore.errors import UnsafeFileError
from mlcore.io.archive import MAX_RATIO, Archive
from mlcore.io.source import Source
from mlcore.io.torch_file.globals import NAMES
from mlcore.io.torch_file.legacy import Legacy
from mlcore.io.torch_file.machine import Reader
from mlcore.io.torch_file.storages import Place, Storages

_PICKLE: Final = "data.pkl"
_SCRIPT: Final = ("constants.pkl", "code/", "bytecode.pkl")
_NOT_CHECKPOINTS: Final = {
    b"version https://git-lfs": "it is a pointer of Git LFS: the file itself was never fetched (git lfs pull)",
    b"<!DOCTYPE": "it is a page of HTML: a download went wrong",
    b"<html": "it is a page of HTML: a download went wrong",
    b"GGUF": "it is a GGUF file",
}


@dataclass(slots=True)
class Contents:
    """`tree` has storages and strided tensors in it; `places` tells where the bytes of each storage are."""

    tree: Any
    places: Mapping[str, Place]
    archive: Archive | None = None
    big_endian: bool = False


def open_contents(source: Source) -> Contents:
    """Read everything but the tensors' values.

    Raises `FormatError` naming file, offset and reason if it is no checkpoint or damaged, `UnsafeFileError` naming what
    would have to be run, `DTypeError` for quantised and packed tensors.
    """
    head = source.read(0, min(source.size, 512), "the first bytes")
    if head[:2] == b"PK":
        return _zip(source)
    if head[257:262] == b"ustar":
        source.fail(
            "it is a tar archive, which PyTorch wrote before 0.2",
            cause="its pickles are read by none of today's safe readers, PyTorch's included",
            fix="load it with a PyTorch that you trust it with, and torch.save it again",
        )
    if head[:1] != b"\x80":
        hints = [hint for start, hint in _NOT_CHECKPOINTS.items() if head.startswith(start)]
        source.fail(f"it begins with {head[:12]!r}, which is no checkpoint of PyTorch's", cause=(hints or [
            "it is empty" if not head else "a checkpoint begins with a zip archive or a pickle"])[0])  # fmt: skip
    legacy = Legacy(source)
    return Contents(legacy.tree, legacy.places)


def _zip(source: Source) -> Contents:
    archive = Archive(source, rooted=True)
    if any(name.startswith(_SCRIPT) for name in archive.members):
        source.fail(
            "it is a TorchScript program, not a checkpoint",
            kind=UnsafeFileError,
            cause="it holds code, and only tensors and plain data are read",
            fix="in PyTorch, torch.save(torch.jit.load(path).state_dict(), ...)",
        )
    if _PICKLE not in archive.members:
        source.fail(
            f"its archive has no {_PICKLE}",
            cause="it is a zip of another kind",
            holds=", ".join(list(archive.members)[:5]) or "nothing",
        )
    limit = MAX_RATIO * source.size
    order = archive.read("byteorder", 16) if "byteorder" in archive.members else b"little"
    if order not in (b"little", b"big"):
        source.fail(f"its byte order is {order!r}", offset=archive.members["byteorder"].start)
    storages = Storages()
    data = archive.read(_PICKLE, limit)
    tree = Reader(source, data, archive.members[_PICKLE].start, NAMES, storages.refer).read()
    places = {}
    for key, storage in storages.known.items():
        member = archive.members.get(f"data/{key}")
        if member is None:
            source.fail(
                f"its archive has no data/{key[:80]}, the storage of {storage.count} {storage.kind.name}"
            )
        if member.size != storage.nbytes:
            source.fail(
                f"member {member.name!r} has {member.size} bytes, its {storage.count} elements of "
                f"{storage.kind.name} take {storage.nbytes}",
                offset=member.start,
            )
        places[key] = Place(member.start, member.size, f"member {member.name!r}", member)
    return Contents(tree, places, archive, order == b"big")
