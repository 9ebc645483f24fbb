"""Random bits from additions, rotations and exclusive ors: the same on every device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore.backends.array_library.library import Library
from mlcore.dtypes import uint32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # Threefry-2x32 (Salmon et al. 2011), table 2
_LOW = 0xFFFFFFFF


class RandomBits(Library):
    """Threefry-2x32, element by element of a counter."""

    def _random_bits(self) -> Callable[..., Any] | None:
        arange, reshape, shift = self.find("arange"), self.find("reshape"), self.find("bitwise_right_shift")
        left = self.find("bitwise_left_shift")
        if uint32 not in self.dtypes or not (arange and reshape and shift and left):
            return None

        def word(value: int) -> Any:
            return self.xp_asarray(np.asarray([value], dtype=np.uint32))

        def bits(start: Any, shape: tuple[int, ...]) -> Any:
            low, high, words = start[0:1], start[1:2], [start[i : i + 1] for i in (2, 3, 4)]
            count = arange(0, math.prod(shape), dtype=self.native(uint32), **self._library_device)
            x1 = count + low
            x0 = self.cast(x1 < low, uint32) + high  # the carry into the counter's upper half
            x0, x1 = x0 + words[0], x1 + words[1]
            for block in range(5):
                for turn in _ROTATIONS[block % 2]:
                    x0 = x0 + x1
                    x1 = (left(x1, word(turn)) | shift(x1, word(32 - turn))) ^ x0
                x0 = x0 + words[(block + 1) % 3]
                x1 = x1 + words[(block + 2) % 3] + word(block + 1)
            return reshape(x0 ^ x1, shape)

        drawn = self.compiled(bits, 1)

        def run(key: tuple[int, int], offset: int, shape: tuple[int, ...]) -> Any:
            start = (offset & _LOW, offset >> 32 & _LOW, *key, key[0] ^ key[1] ^ 0x1BD11BDA)
            return drawn(self.xp_asarray(np.asarray(start, dtype=np.uint32)), shape)

        return run
