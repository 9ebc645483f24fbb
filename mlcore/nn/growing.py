"""A tensor that grows along its last but one dimension without being copied each time."""

from __future__ import annotations

from typing import Any, Final

from mlcore.modes import MODES
from mlcore.ops.creation import empty
from mlcore.ops.shape import concat, slice_, slice_update
from mlcore.table import entry

_LEAST: Final = 32  # positions that there is room for after the first growth


class Growing:
    """(..., length, width) in memory with room for more, which at least doubles whenever it is full.

    New positions are written where they belong if the device can do that (its kernel of slice_update has `update`, as
    those of optimizer steps have) and nobody else holds the memory: a tensor that was given out keeps its values. Where
    gradients are recorded, operations intercepted or the dtype changes, the positions are joined as usual.
    """

    __slots__ = ("held", "length")

    def __init__(self, first: Any) -> None:
        self.held = _apart(first)  # its memory is not copied: most texts are read once
        self.length: int = first.shape[-2]

    @property
    def value(self) -> Any:
        """The positions so far."""
        whole = self.held.shape[-2] == self.length
        return _apart(self.held) if whole else slice_(self.held, _key(self.held.shape, 0, self.length))

    def add(self, new: Any) -> None:
        """Put positions behind those held."""
        if not _can_write(self.held, new):
            self.held = concat([self.value, new], axis=-2)
            self.length = self.held.shape[-2]
            return
        end = self.length + new.shape[-2]
        if end > self.held.shape[-2]:
            before = self.value
            room = (*before.shape[:-2], max(2 * self.held.shape[-2], end, _LEAST), before.shape[-1])
            self.held = empty(room, dtype=before.dtype, device=before.device)
            _write(self.held, 0, before)
        _write(self.held, self.length, new)
        self.length = end


def _can_write(held: Any, new: Any) -> bool:
    if held.dtype is not new.dtype or held.device is not new.device:
        return False
    if MODES.special != 0 and MODES.local.interceptors:
        return False
    if held.requires_grad or new.requires_grad:
        return False
    return _update(held) is not None


def _update(held: Any) -> Any:
    return getattr(entry(slice_update, held.device).by_dtype[held.dtype.index], "update", None)


def _key(shape: tuple[int, ...], start: int, stop: int) -> tuple[tuple[int, int, int], ...]:
    whole = [(0, size, 1) for size in shape]
    whole[-2] = (start, stop, 1)
    return tuple(whole)


def _apart(one: Any) -> Any:
    """Another tensor of the same memory: what is held is never the object that somebody else has."""
    return one if one.requires_grad else one.detach()


def _write(held: Any, start: int, new: Any) -> None:
    """Positions from `start` on take new values: in the memory of `held`, or in a copy of it."""
    key = _key(held.shape, start, start + new.shape[-2])
    if _update(held)([held.array, new.array], key) < 0:
        held.rebind(slice_update(held, new, key=key))
