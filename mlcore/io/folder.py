"""Folders of a model as Hugging Face has them: config.json, and weights in one file or in several with an index."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlcore.errors import FormatError, UnsafeFileError
from mlcore.io import strict_json
from mlcore.io.files import file_error
from mlcore.io.opened import Array, Buffer, Weights

_INDEX: Final = ".index.json"
_FIRST: Final = (  # what a folder's weights are in, the first that is there
    "model.safetensors" + _INDEX, "model.safetensors",
    "diffusion_pytorch_model.safetensors" + _INDEX, "diffusion_pytorch_model.safetensors",
    "adapter_model.safetensors", "pytorch_model.bin" + _INDEX, "pytorch_model.bin", "adapter_model.bin",
)  # fmt: skip


def weight_files(names: Collection[str]) -> str:
    """Which of a folder's files has the weights, or the index of them: '' if none has, or it cannot be told.

    >>> weight_files({"config.json", "model.safetensors", "pytorch_model.bin"}), weight_files({"README.md"})
    ('model.safetensors', '')
    """
    for name in _FIRST:
        if name in names:
            return name
    for end in (".safetensors" + _INDEX, ".safetensors"):
        found = [name for name in names if name.endswith(end)]
        if len(found) == 1:
            return found[0]
    return ""


class ModelFolder(Weights):
    """The weights of a folder, each file opened once; `metadata` has config.json as "config"."""

    def __init__(self, path: Path) -> None:
        try:
            chosen = weight_files(os.listdir(path))
        except OSError as error:
            raise file_error("read", path, error) from error
        if not chosen:
            raise FormatError(
                f"{path} has no weights", expected="model.safetensors, or an index of several files"
            )
        index = strict_json.read(path / chosen) if chosen.endswith(_INDEX) else None
        self._files: dict[str, Weights] = {}
        metadata: dict[str, Any] = {}
        if index is not None:
            metadata["index"] = index.get("metadata", {})
        if (path / "config.json").is_file():
            metadata["config"] = strict_json.read(path / "config.json")
        try:
            self._where = self._single(path, chosen) if index is None else self._sharded(path, chosen, index)
        except BaseException:
            self.close()
            raise
        for file in self._files.values():
            metadata = file.metadata | metadata
        super().__init__(
            path, {name: self._files[file].infos[name] for name, file in self._where.items()}, metadata
        )

    def _open(self, path: Path, name: str) -> Weights:
        from mlcore.io.formats import recognise

        if name not in self._files:
            if os.path.isdir(path / name):  # a link to the folder itself would go on for ever
                raise FormatError(f"{path / name} is a folder", expected="a file of weights")
            self._files[name] = recognise(path / name).open(path / name)
        return self._files[name]

    def _single(self, path: Path, name: str) -> dict[str, str]:
        return dict.fromkeys(self._open(path, name), name)

    def _sharded(self, path: Path, chosen: str, index: dict[str, Any]) -> dict[str, str]:
        table = index.get("weight_map")
        if not isinstance(table, dict) or not all(isinstance(file, str) for file in table.values()):
            raise FormatError(f"{path / chosen} has no table of files under 'weight_map'")
        for name, file in table.items():
            if not file or Path(file).name != file or "\\" in file or "\0" in file or file in (".", ".."):
                raise UnsafeFileError(f"{path / chosen}: tensor {name!r} is said to be in {file!r}",
                                      cause="the files of a model lie in its own folder")  # fmt: skip
            if name not in self._open(path, file):
                raise FormatError(
                    f"{path / chosen}: tensor {name!r} is said to be in {file!r}, which does not hold it"
                )
        for file, opened in self._files.items():
            more = [name for name in opened if table.get(name) != file]
            if more:
                raise FormatError(f"{path / file} holds {more[0]!r}, which {chosen} does not place there",
                                  more=len(more) - 1 or None)  # fmt: skip
        return table

    def read(self, name: str, buffer: Buffer = np.empty) -> Array:
        self.info(name)
        return self._files[self._where[name]].read(name, buffer)

    def view(self, name: str) -> Array:
        self.info(name)
        return self._files[self._where[name]].view(name)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def file_of(self, name: str) -> str:
        """The file in which a tensor lies."""
        self.info(name)
        return self._where[name]
