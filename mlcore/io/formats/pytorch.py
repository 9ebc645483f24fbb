"""PyTorch's checkpoints: zip archives with data.pkl, and the pickles of PyTorch before 1.6."""

from __future__ import annotations

from mlcore.io.formats import Format, Peek


def _sniff(peek: Peek) -> bool:
    if any(
        name.endswith(("/data.pkl", "/constants.pkl")) for name in peek.members
    ):  # TorchScript is refused with a reason
        return True
    pickled = peek.head[:1] == b"\x80" and peek.head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    return pickled or peek.head[257:262] == b"ustar"


FORMAT = Format(
    name="pytorch",
    about="PyTorch's checkpoints",
    sniff=_sniff,
    reader="mlcore.io.torch_file.file:open_torch",
    writer="mlcore.io.torch_file.writer:write",
    suffixes=(".pt", ".pth", ".ckpt", ".bin"),
    nested=True,
    metadata=False,
)
