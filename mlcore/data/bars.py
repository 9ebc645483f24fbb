"""A bar that shows how far an iteration is (tqdm), or nothing where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any


def progress(
    batches: Iterable[Any],
    label: bool | str = True,
    total: int | None = None,
    initial: int = 0,
    **options: Any,
) -> Iterator[Any]:
    """Go through `batches` with a tqdm bar on standard error; `label` (a text) stands before it.

    On a terminal only: `disable=False` shows it elsewhere too. Other options go to tqdm.

    >>> from mlcore import data
    >>> list(data.progress([1, 2, 3], "epoch 1"))
    [1, 2, 3]
    """
    from tqdm import tqdm

    if total is None:
        total = len(batches) if isinstance(batches, Sized) else None
    options.setdefault("disable", not sys.stderr.isatty())
    options.setdefault("desc", label if isinstance(label, str) else None)
    options.setdefault("unit", "batch")
    source = iter(batches)
    with tqdm(total=total, initial=initial, **options) as bar:
        try:
            for one in source:
                yield one
                bar.update()
        finally:
            if hasattr(source, "close"):
                source.close()
