"""PyTorch beside mlcore: one thread each is plenty for tensors this small."""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError):
    import torch

    torch.set_num_threads(1)
