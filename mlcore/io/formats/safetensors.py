"""safetensors: the length of a JSON header, and the header's brace."""

from mlcore.io.formats import Format, Peek


def _sniff(peek: Peek) -> bool:
    length = int.from_bytes(peek.head[:8], "little")
    return peek.size >= 10 and length <= 100_000_000 and peek.head[8:9] == b"{"


FORMAT = Format(
    "safetensors",
    "safetensors files",
    _sniff,
    reader="mlcore.io.safetensors:SafetensorsFile",
    writer="mlcore.io.safetensors:write_arrays",
    suffixes=(".safetensors",),
)
