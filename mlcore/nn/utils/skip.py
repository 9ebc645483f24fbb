"""A module whose parameters nobody draws, since they will be loaded."""

from __future__ import annotations

from typing import Any

from mlcore.compile.shape_only import shape_only
from mlcore.errors import ArgumentTypeError
from mlcore.nn.module import Module


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """`module_cls(*args, **kwargs)` without initialisation: its parameters and buffers hold anything.

    `device` among the arguments says where they are; the class need not take it.

    >>> from mlcore import nn
    >>> nn.utils.skip_init(nn.Linear, 3, 2).weight.shape
    (2, 3)
    """
    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        raise ArgumentTypeError(f"skip_init: {module_cls!r} is not a Module class", fix="pass the class")
    device = kwargs.pop("device", None)
    with shape_only():
        made = module_cls(*args, **kwargs)
    return made.to_empty(device=device)
