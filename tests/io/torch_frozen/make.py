"""Writes the small checkpoints beside it with PyTorch: run it by hand, where PyTorch is installed.

    python tests/io/torch_frozen/make.py

Their values are those of `VALUES` in test_torch_frozen.py: whole numbers counted up, so that a test needs no PyTorch.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent


def main() -> None:
    x = torch.arange(24.0)
    net = OrderedDict(
        weight=x[:12].reshape(3, 4), turned=x[:12].reshape(3, 4).t(), part=x[4:8], tied=x[:12].reshape(3, 4),
        steps=x[::5], grid=x.reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last), scalar=torch.tensor(7),
        none=torch.zeros(0, 2), flags=torch.tensor([True, False]), brain=x[:4].bfloat16(), half=x[:4].half(),
        wide=x[:4].double(), ids=torch.arange(4), small=torch.arange(4, dtype=torch.int8),
        pairs=torch.complex(x[:4], -x[:4]), parameter=torch.nn.Parameter(x[:4].clone()),
    )  # fmt: skip
    parameter = torch.nn.Parameter(x[:4].clone())
    steps = torch.optim.Adam([parameter], lr=0.5)
    (parameter * 2).sum().backward()
    steps.step()
    saved = {
        "epoch": 3,
        "model": net,
        "optimizer": steps.state_dict(),
        "note": "é",
        "shape": torch.Size([3, 4]),
    }
    torch.save(saved, HERE / "zip.pt")
    torch.save(saved, HERE / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(
        {"u": torch.arange(4).to(torch.uint16), "f": x[:4].to(torch.float8_e4m3fn)}, HERE / "new_dtypes.pt"
    )
    torch.save([x[:4], {"deep": (x[4:8],)}], HERE / "protocol4.pt", pickle_protocol=4)


if __name__ == "__main__":
    main()
