"""What calling a module does. Compiled: a small network spends more time here than on its numbers.

Types for the compiled version are in calling.pxd.
"""

from __future__ import annotations

from typing import Any

from mlcore.nn import hooks
from mlcore.nn.locate import locate


class Called:
    """Base of Module: calling an object calls its `forward`, with its hooks around it where it has some."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module: Any = self
        try:
            if module._hooks is None:
                return module.forward(*args, **kwargs)
            return hooks.call(module, module._hooks, args, kwargs)
        except Exception as error:
            locate(error, module)
            raise


def members_of(module: Any, kind: type) -> list[Any]:
    """The attributes of a module that are of a kind, in the order in which they were first assigned."""
    found: list[Any] = []
    for one in module.__dict__.values():
        if isinstance(one, kind):
            found.append(one)
    return found
