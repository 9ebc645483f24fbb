"""NumPy's npy: one array."""

from mlcore.io.formats import Format, Peek


def _sniff(peek: Peek) -> bool:
    return peek.head.startswith(b"\x93NUMPY")


FORMAT = Format(
    "npy",
    "NumPy's npy files",
    _sniff,
    reader="mlcore.io.npy:NpyFile",
    writer="mlcore.io.npy:write_npy",
    suffixes=(".npy",),
    nested=True,
    metadata=False,
)
