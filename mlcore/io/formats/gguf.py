"""GGUF: its magic."""

from mlcore.io.formats import Format, Peek


def _sniff(peek: Peek) -> bool:
    return peek.head[:4] == b"GGUF"


FORMAT = Format(
    "gguf",
    "GGUF files",
    _sniff,
    reader="mlcore.io.gguf.file:GGUFFile",
    writer="mlcore.io.gguf.writer:write",
    suffixes=(".gguf",),
)
