"""Every kernel that the backends can ask for, as text: what CI compiles for every target, and for the emulator."""

from __future__ import annotations

from collections.abc import Iterator

from mlcore.codegen import Dialect, catalog, combined
from mlcore.ops import registry
from mlcore_cupy.source import modules


def groups(dialect: Dialect, size: int = 128) -> Iterator[tuple[str, list[str], int]]:
    """(a text to compile, the sources in it as they are asked for, how many kernels that are).

    Generated kernels stand together, `size` in a text; the hand-written ones as they are, a text for each file and
    element type. Operations count that are declared now: import mlcore.optim for the optimizers' own.
    """
    sources = list(catalog.every(dialect, registry.all_ops()))
    for at in range(0, len(sources), size):
        part = sources[at : at + size]
        yield combined(part), [one.text for one in part], len(part)
    for _, _, text in modules():
        yield text, [text], text.count("\nKERNEL")
