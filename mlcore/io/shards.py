"""Writing a folder of safetensors files with an index, as Hugging Face's libraries read it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mlcore.errors import ArgumentError
from mlcore.io import safetensors
from mlcore.io.files import atomic_folder, new_file
from mlcore.io.opened import Array

_UNITS: Final = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def write_folder(
    arrays: Mapping[str, Array],
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any] | None = None,
    *,
    max_shard_size: int | str = "5GB",
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write a new folder: model.safetensors, or several files of at most `max_shard_size` bytes and their index.

    A tensor larger than that has a file of its own. `config` becomes config.json. The folder appears whole or not at
    all, and must not hold anything before.

    Raises `DTypeError` for a dtype that the format lacks, `FileError` if it cannot be written.
    """
    rows = safetensors.outline(arrays)
    notes = dict(metadata or {})
    config = notes.pop("config", None) if config is None else config
    notes.pop("index", None)
    parts = split({name: size for name, (_, _, size) in rows.items()}, as_bytes(max_shard_size))
    count = len(parts)
    files = [
        "model.safetensors" if count == 1 else f"model-{n:05d}-of-{count:05d}.safetensors"
        for n in range(1, count + 1)
    ]
    with atomic_folder(path) as folder:
        for file, names in zip(files, parts):
            header, order = safetensors.make_header({name: rows[name] for name in names}, notes)
            with new_file(folder / file) as out:
                safetensors.write_into(out, header, order, arrays)
        if count > 1:
            where = {name: file for file, names in zip(files, parts) for name in names}
            total = sum(size for _, _, size in rows.values())
            table = {"metadata": {"total_size": total}, "weight_map": {name: where[name] for name in rows}}
            _write_json(folder / "model.safetensors.index.json", table)
        if config is not None:
            _write_json(folder / "config.json", config)


def split(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    """Names in their order, in groups of at most `limit` bytes; what is larger stands alone.

    >>> split({"a": 3, "b": 4, "c": 9, "d": 1}, 8)
    [['a', 'b'], ['c'], ['d']]
    """
    groups: list[list[str]] = [[]]
    room = limit
    for name, size in sizes.items():
        if groups[-1] and size > room:
            groups.append([])
            room = limit
        groups[-1].append(name)
        room -= size
    return groups


def as_bytes(size: int | str) -> int:
    """A number of bytes, or text such as "500MB" or "2GiB".

    >>> as_bytes(1000), as_bytes("5GB"), as_bytes("1.5 GiB")
    (1000, 5000000000, 1610612736)
    """
    found: float = 0
    if isinstance(size, str):
        text = size.strip().upper()
        unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
        try:
            found = float(text.removesuffix(unit)) * _UNITS.get(unit, 1)
        except ValueError:
            found = 0
    elif isinstance(size, int):
        found = size
    if not 1 <= found < 2**63:
        raise ArgumentError(
            f"max_shard_size is {size!r}", expected="a number of bytes, or text such as '5GB'"
        )
    return int(found)


def _write_json(path: Path, content: Any) -> None:
    with new_file(path) as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
