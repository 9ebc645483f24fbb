"""The kit's table of known random bits, against the published test vectors by an implementation of its own."""

from __future__ import annotations

import pytest

from mlcore.testing.device_checks import KNOWN_BITS, KNOWN_LATER

MASK = 0xFFFFFFFF


def threefry2x32(key: tuple[int, int], counter: tuple[int, int], rounds: int = 20) -> tuple[int, int]:
    """Threefry-2x32 written from the paper (Salmon et al., SC 2011), in Python integers."""
    schedule = [key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA]
    rotations = [13, 15, 26, 6, 17, 29, 16, 24]
    x = [(counter[0] + schedule[0]) & MASK, (counter[1] + schedule[1]) & MASK]
    for i in range(rounds):
        x[0] = (x[0] + x[1]) & MASK
        turn = rotations[i % 8]
        x[1] = ((x[1] << turn | x[1] >> (32 - turn)) & MASK) ^ x[0]
        if i % 4 == 3:
            turn = i // 4 + 1
            x[0] = (x[0] + schedule[turn % 3]) & MASK
            x[1] = (x[1] + schedule[(turn + 1) % 3] + turn) & MASK
    return x[0], x[1]


@pytest.mark.parametrize(
    ("key", "counter", "answer"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((MASK, MASK), (MASK, MASK), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_published_vectors(key: tuple[int, int], counter: tuple[int, int], answer: tuple[int, int]) -> None:
    """The known-answer file of the authors' library (Random123, kat_vectors, threefry2x32 20)."""
    assert threefry2x32(key, counter) == answer


def bits(seed: int, element: int) -> int:
    a, b = threefry2x32((seed >> 32, seed & MASK), (element >> 32, element & MASK))
    return a ^ b


def test_the_table_of_known_bits() -> None:
    for seed, known in KNOWN_BITS:
        assert [bits(seed, i) for i in range(len(known))] == list(known)
    for seed, last in KNOWN_LATER:
        assert bits(seed, 999) == last
