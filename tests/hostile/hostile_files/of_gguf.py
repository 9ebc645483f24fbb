"""Hostile GGUF files: counts and lengths that are not there."""

from __future__ import annotations

import struct
from typing import Any

from hostile_files.cases import many

TEXT, ARRAY, U32 = 8, 9, 4


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, count: int, values: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + values


def tensor(
    name: Any = "w", shape: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0, rank: int | None = None
) -> bytes:
    rank = len(shape) if rank is None else rank
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", rank, *shape, kind, offset)


def gguf(pairs: bytes = b"", tensors: bytes = b"", data: bytes = bytes(64), *, keys: int | None = None,
    count: int | None = None,
         version: int = 3) -> bytes:  # fmt: skip
    keys = (1 if pairs else 0) if keys is None else keys
    count = (1 if tensors else 0) if count is None else count
    head = struct.pack("<4sIQQ", b"GGUF", version, count, keys) + pairs + tensors
    return head + bytes(-len(head) % 32) + data


HUGE = 1 << 60
many("gguf", "head", {
    "cut_after_its_magic": (b"GGUF", "first bytes|no GGUF|begins with"),
    "cut_in_its_counts": (b"GGUF\x03\0\0\0" + bytes(7), "truncated"),
    "of_version_1": (gguf(version=1), "version 1"),
    "of_the_future": (gguf(version=99), "version 99"),
    "with_2_to_60_keys": (gguf(keys=HUGE), "announces 1152921504606846976 keys"),
    "with_2_to_60_tensors": (gguf(count=HUGE), "announces 1152921504606846976 tensors"),
    "with_2_to_64_tensors": (gguf(count=(1 << 64) - 1), "announces 18446744073709551615 tensors"),
    "with_more_keys_than_room": (gguf(keys=90_000), "announces 90000 keys"),
    "with_a_key_that_is_too_long": (gguf(struct.pack("<Q", HUGE)), "text of 1152921504606846976 bytes"),
    "with_a_key_of_2_to_63": (gguf(struct.pack("<Q", (1 << 64) - 1)), "text of 18446744073709551615 bytes"),
    "with_a_key_that_is_no_text": (gguf(text(b"\xff\xfe") + struct.pack("<II", U32, 1)), "no text"),
    "with_a_key_twice": (gguf(2 * pair("a", U32, bytes(4)), keys=2), "'a' stands twice"),
    "with_an_unknown_type": (gguf(pair("a", 77, bytes(8))), "value of type 77"),
    "with_a_text_past_its_end": (gguf(pair("a", TEXT, struct.pack("<Q", 4000))), "4000 bytes"),
    "with_an_array_of_2_to_60": (gguf(pair("a", ARRAY, array(U32, HUGE))), "announces 1152921504606846976 values"),
    "with_texts_of_2_to_60": (gguf(pair("a", ARRAY, array(TEXT, HUGE))), "announces 1152921504606846976 values"),
    "with_an_array_that_wraps": (gguf(pair("a", ARRAY, array(12, 1 << 61))), "announces 2305843009213693952 values"),
    "with_a_text_in_an_array_past_its_end": (gguf(pair("a", ARRAY, array(TEXT, 2, text("x") + struct.pack("<Q",
        1 << 40)))),
                                             "text 1 of 'a' reaches beyond"),
    "with_arrays_in_arrays": (gguf(pair("a", ARRAY, b"".join(array(ARRAY, 1) for _ in range(5000)))), "type 9|values"),
    "with_an_array_of_unknown_type": (gguf(pair("a", ARRAY, array(55, 1, bytes(64)))), "type 55"),
    "with_an_alignment_of_0": (gguf(pair("general.alignment", U32, bytes(4)), tensor()), "alignment"),
    "with_an_alignment_of_3": (gguf(pair("general.alignment", U32, struct.pack("<I", 3)), tensor()), "alignment"),
    "with_an_alignment_of_text": (gguf(pair("general.alignment", TEXT, text("32")), tensor()), "alignment"),
    "with_a_huge_alignment": (gguf(pair("general.alignment", U32, struct.pack("<I", 1 << 31)), tensor()),
        "alignment|lies|bytes"),
}, "llama.cpp's readers allocated what a file announced (CVE-2024-21802, CVE-2024-23496, CVE-2024-21836)", bytes,
    ".gguf")  # fmt: skip

many("gguf", "tensor", {
    "beyond_the_file": (gguf(tensors=tensor(shape=(1 << 20,))), "'w'"),
    "at_an_offset_beyond_the_file": (gguf(tensors=tensor(offset=1 << 40)), "'w'"),
    "at_an_offset_that_wraps": (gguf(tensors=tensor(offset=(1 << 64) - 32)), "'w'"),
    "at_an_odd_offset": (gguf(tensors=tensor(offset=1)), "'w'"),
    "that_overlaps": (gguf(tensors=tensor("a") + tensor("b"), count=2), "overlap|'b'"),
    "with_a_name_twice": (gguf(tensors=tensor("a") + tensor("a", offset=32), count=2), "'a'"),
    "of_an_unknown_type": (gguf(tensors=tensor(kind=999)), "type 999|999"),
    "of_a_removed_type": (gguf(tensors=tensor(kind=4)), "type 4|4"),
    "of_a_product_that_wraps": (gguf(tensors=tensor(shape=(1 << 32, 1 << 32))), "'w'"),
    "of_a_product_that_wraps_to_its_size": (gguf(tensors=tensor(shape=(1 << 62, 4))), "'w'"),
    "of_a_size_of_2_to_64": (gguf(tensors=tensor(shape=((1 << 64) - 1,))), "'w'"),
    "of_4_billion_dimensions": (gguf(tensors=tensor(rank=0xFFFFFFFF)), "dimensions|'w'"),
    "of_9_dimensions": (gguf(tensors=tensor(shape=(1,) * 9)), "dimensions|'w'"),
    "of_half_a_block": (gguf(tensors=tensor(shape=(31,), kind=2)), "'w'"),
    "whose_name_is_no_text": (gguf(tensors=tensor(b"\xff")), "no text"),
    "whose_name_is_too_long": (gguf(tensors=struct.pack("<Q", HUGE)), "text of 1152921504606846976 bytes"),
    "whose_head_is_cut": (gguf(tensors=tensor())[:60], "truncated|'w'|lies|bytes"),
    "whose_values_are_cut": (gguf(tensors=tensor())[:-40], "'w'"),
}, "sizes are products of the file's numbers: none is believed before the file has the bytes", bytes,
    ".gguf", "FormatError|DTypeError")  # fmt: skip

many("gguf", "quantised", {"as_nobody_reads": (gguf(tensors=tensor(shape=(256,), kind=16), data=bytes(128)),
    "'w'.*IQ2_XXS")},
     "what cannot be decoded is said, not guessed", bytes, ".gguf", "DTypeError")  # fmt: skip
