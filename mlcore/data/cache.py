"""Samples that are made once: kept in memory, or in files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlcore.config import log
from mlcore.data.codec import decode, encode
from mlcore.data.dataset import Dataset, IterableDataset, check_index
from mlcore.errors import ArgumentError, ArgumentTypeError, FormatError
from mlcore.tensor import TensorBase

SUFFIX: Final = ".sample"
_UNITS: Final = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


def as_bytes(who: str, limit: Any) -> int | None:
    """A size in bytes from a number or a text such as "2 GB" or "512 MiB"; None is no limit."""
    if limit is None:
        return None
    found = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]?i?)b?\s*", limit.lower()) if isinstance(limit, str) else None
    try:
        size = float(found[1]) * _UNITS[found[2]] if found else float(limit)
    except (TypeError, ValueError, KeyError):
        size = -1.0
    if isinstance(limit, bool) or not 0 < size < float("inf"):
        raise ArgumentError(f"{who}: limit is {limit!r}", fix="use bytes, or a text such as '2 GB'")
    return int(size)


class _Cache(Dataset[Any]):
    def __init__(self, dataset: Any, limit: Any) -> None:
        name = type(self).__name__
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
            raise ArgumentTypeError(
                f"{name}: a {type(dataset).__name__} has no samples by number",
                fix="use a dataset with __getitem__ and __len__",
            )
        self.dataset, self.limit = dataset, as_bytes(name, limit)
        self.hits = self.misses = self.size = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()


class MemoryCache(_Cache):
    """A dataset whose samples are kept when they are first loaded; over `limit` bytes the least recently used go.

    The arrays that it gives cannot be written to, so that nobody changes what is kept. Threads share it; a worker
    process has its own, which lasts as long as the worker (see `persistent_workers`).

    >>> from mlcore import data
    >>> cached = data.MemoryCache([10, 20], limit="1 MB")
    >>> cached[1], cached[1], cached.hits, cached.misses
    (20, 20, 1, 1)
    """

    def __init__(self, dataset: Any, limit: Any = None) -> None:
        super().__init__(dataset, limit)
        self.kept: OrderedDict[int, tuple[Any, int]] = OrderedDict()

    def __getitem__(self, index: Any) -> Any:
        place = check_index("MemoryCache", index, len(self.dataset))
        with self._lock:
            found = self.kept.get(place)
            if found is not None:
                self.kept.move_to_end(place)
                self.hits += 1
                return found[0]
        sample = _frozen(self.dataset[place])
        size = _bytes(sample)
        with self._lock:
            self.misses += 1
            if (self.limit is None or size <= self.limit) and place not in self.kept:
                self.kept[place] = (sample, size)
                self.size += size
            while self.limit is not None and self.size > self.limit:
                self.size -= self.kept.popitem(last=False)[1][1]
        return sample

    def clear(self) -> None:
        """Forget all samples."""
        with self._lock:
            self.kept.clear()
            self.size = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "kept": OrderedDict(), "size": 0}  # a worker fills its own


def _frozen(sample: Any) -> Any:
    if type(sample) is np.ndarray:
        view = sample.view()
        view.flags.writeable = False
        return view
    if type(sample) in (tuple, list):
        return type(sample)(map(_frozen, sample))
    if type(sample) is dict:
        return {key: _frozen(one) for key, one in sample.items()}
    return sample


def _bytes(sample: Any) -> int:
    if isinstance(sample, (np.ndarray, TensorBase)):
        return int(sample.nbytes) + 100  # type: ignore[union-attr]  # tensors and arrays alike
    if isinstance(sample, Mapping):
        return 100 + sum(_bytes(one) for one in sample.values())
    if isinstance(sample, (tuple, list)):
        return 60 + sum(map(_bytes, sample))
    return sys.getsizeof(sample)


class DiskCache(_Cache):
    """A dataset whose samples are kept in files of `folder` when they are first loaded; over `limit` bytes the least
    recently used go.

    A file's name is a hash of `version`, the dataset's class and length, and the sample's index, or what `key(index)`
    gives instead: change `version` when the samples change. A file carries a hash of its content; one that is damaged
    is made again, with a warning. Several processes may share a folder. No file can run code: what is kept is tensors,
    arrays, numbers, texts, bytes, tuples, lists and dicts; other samples raise DataError.

    >>> from mlcore import data
    >>> cached = data.DiskCache([10, 20], "cache", limit="1 GB")
    >>> cached[1], cached[1], cached.hits, cached.misses
    (20, 20, 1, 1)
    """

    def __init__(
        self,
        dataset: Any,
        folder: str | os.PathLike[str],
        limit: Any = None,
        *,
        version: object = "",
        key: Callable[[int], object] | None = None,
    ) -> None:
        super().__init__(dataset, limit)
        self.folder, self.version, self.key = Path(folder), version, key
        self.folder.mkdir(parents=True, exist_ok=True)
        self.size = sum(size for _, size, _ in self._files())
        self._unseen = 0  # bytes written since the folder was looked through

    def path(self, index: int) -> Path:
        """The file of a sample."""
        kind = type(self.dataset)
        what = repr(index) if self.key is None else repr(self.key(index))
        text = f"{self.version}\0{kind.__module__}.{kind.__qualname__}\0{len(self.dataset)}\0{what}"
        return self.folder / (hashlib.blake2b(text.encode(), digest_size=20).hexdigest() + SUFFIX)

    def __getitem__(self, index: Any) -> Any:
        place = check_index("DiskCache", index, len(self.dataset))
        path = self.path(place)
        try:
            sample = decode(path.read_bytes())
        except FileNotFoundError:
            pass
        except (FormatError, OSError) as error:
            log.warning("DiskCache: sample %d is made again: %s (%s)", place, error, path)
        else:
            self.hits += 1
            with contextlib.suppress(OSError):
                os.utime(path)
            return sample
        sample = self.dataset[place]
        self.misses += 1
        self._keep(path, encode(sample))
        return sample

    def _keep(self, path: Path, content: bytes) -> None:
        if self.limit is not None and len(content) > self.limit:
            return
        with self._lock:
            self._unseen += len(content)
            self.size += len(content)
            # Others may write here too, so it is looked through now and then.
            if self.limit is not None and (self.size > self.limit or self._unseen > self.limit // 16):
                self._make_room(self.limit - len(content))
                self.size += len(content)
        own = path.with_name(f"{path.stem}-{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            own.write_bytes(content)
            os.replace(own, path)
        except OSError as error:  # a full disk is no reason to stop
            log.warning("DiskCache: cannot keep a sample: %s", error)
            with contextlib.suppress(OSError):
                own.unlink()

    def _files(self) -> list[tuple[int, int, Path]]:
        """Last use, size and path of each file."""
        found = []
        for entry in os.scandir(self.folder):
            if entry.name.endswith((SUFFIX, ".tmp")):
                with contextlib.suppress(OSError):
                    facts = entry.stat()
                    found.append((facts.st_mtime_ns, facts.st_size, Path(entry.path)))
        return found

    def _make_room(self, limit: int) -> None:
        files = sorted(self._files(), key=lambda one: one[0])
        self.size, self._unseen = sum(size for _, size, _ in files), 0
        for _, size, path in files:
            if self.size <= limit:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            self.size -= size

    def clear(self) -> None:
        """Remove all files of the cache."""
        with self._lock:
            for _, _, path in self._files():
                with contextlib.suppress(OSError):
                    path.unlink()
            self.size = 0
