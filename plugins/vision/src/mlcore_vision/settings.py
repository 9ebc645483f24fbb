"""The plugin's own variables."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mlcore import config

DATA_DIR: Final = config.Variable[str | None](
    "MLCORE_DATA_DIR",
    None,
    str,
    "folder of data sets, such as MNIST/ (default: data/ in the cache folder)",
    owner="vision",
)


def data_dir() -> Path:
    """MLCORE_DATA_DIR, else data/ in the cache folder."""
    chosen = DATA_DIR.get()
    return Path(chosen).expanduser() if chosen else config.cache_dir() / "data"
