"""NumPy's npz: a zip of npy files."""

from mlcore.io.formats import Format, Peek


def _sniff(peek: Peek) -> bool:
    empty = peek.size == 22 and peek.head.startswith(b"PK\x05\x06")
    return empty or any(name.endswith(".npy") for name in peek.members)


FORMAT = Format(
    "npz",
    "NumPy's npz files",
    _sniff,
    reader="mlcore.io.npy:NpzFile",
    writer="mlcore.io.npy:write_npz",
    suffixes=(".npz",),
    metadata=False,
)
