"""Hostile safetensors files, folders of them, and checkpoints."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

import mlcore as ml
from hostile_files.cases import case, many, put, sparse

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def container(header: Any, data: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def one(**changes: Any) -> dict[str, Any]:
    return {"w": F32 | changes}


many("safetensors", "header", {
    "of_gigabytes": (struct.pack("<Q", 1 << 33) + b"{", "header claims 8589934592 bytes"),
    "of_2_to_63": (struct.pack("<Q", 1 << 63) + b"{" * 20, "header claims 9223372036854775808 bytes|no format"),
    "beyond_the_end": (struct.pack("<Q", 4000) + b"{}", "truncated: the header ends at byte 4008, the file at byte 10"),
    "is_a_list": (container(b"[1]       "), "no format|starts with"),
    "is_not_utf8": (container(b'{"\xff\xfe": 1}'), "not valid JSON"),
    "is_cut": (container(b'{"w": {"dtype"'), "not valid JSON"),
    "has_nan": (container(b'{"w": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 8]}}'), "holds NaN"),
    "has_infinity": (container(b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, -Infinity]}}'),
                     "holds -Infinity"),
    "has_a_key_twice": (container(b'{"w": %s, "w": %s}' % (2 * (json.dumps(F32).encode(),))), "'w' stands twice"),
    "has_a_field_twice": (container(b'{"w": {"dtype": "F32", "shape": [2], "shape": [2], "data_offsets": [0, 8]}}'),
                          "'shape' stands twice"),
    "is_nested_without_end": (container(b'{"w":' + b"[" * 50_000 + b"]" * 50_000 + b"}"), "not valid JSON"),
    "has_a_number_of_a_million_digits": (container(b'{"w": ' + b"9" * 1_000_000 + b"}"), "not valid JSON"),
    "has_metadata_of_numbers": (container({"__metadata__": {"a": 1}, "w": F32}), "metadata is not a table of strings"),
    "has_metadata_of_a_list": (container({"__metadata__": [], "w": F32}), "metadata is not a table of strings"),
    "has_a_lone_surrogate": (container(b'{"\\ud800": 3}'), r"tensor '.ud800' has 3"),
}, "what is told must be checked before it is believed (reliability 3.2: safetensors' own rules)", bytes,
    ".safetensors")  # fmt: skip

many("safetensors", "tensor", {
    "overlaps": ({"a": F32, "b": F32}, "tensor 'b'.*overlaps|'a' and 'b'|inside"),
    "lies_in_another": ({"a": F32, "b": one(shape=[1], data_offsets=[4, 8])["w"]}, "'b'"),
    "leaves_a_hole": ({"a": one(data_offsets=[8, 16])["w"]}, "'a'.*|hole"),
    "ends_beyond_the_file": (one(shape=[1 << 20], data_offsets=[0, 1 << 22]), "'w'|truncated"),
    "leaves_bytes_behind": (one(shape=[1], data_offsets=[0, 4]), "4 bytes|after"),
    "ends_before_it_starts": (one(data_offsets=[8, 0]), r"'w' ends before it starts: data_offsets \[8, 0\]"),
    "has_a_product_that_wraps": (one(shape=[1 << 32, 1 << 32], data_offsets=[0, 0]),
        "takes 73786976294838206464 bytes"),
    "has_a_product_that_wraps_to_its_size": (one(shape=[(1 << 62) + 2], data_offsets=[0, 8]), "'w'.*takes"),
    "has_a_negative_size": (one(shape=[-2]), r"'w' has shape \[-2\]"),
    "has_a_size_of_text": (one(shape=["2"]), "'w' has shape"),
    "has_a_size_that_is_true": (one(shape=[True, 2]), "'w' has shape"),
    "has_a_size_of_a_float": (one(shape=[2.0]), "'w' has shape"),
    "has_a_huge_rank": (one(shape=[1] * 5000), "'w' has shape"),
    "has_an_offset_of_2_to_64": (one(data_offsets=[0, 1 << 64]), "'w' has data_offsets"),
    "has_three_offsets": (one(data_offsets=[0, 4, 8]), "'w' has data_offsets"),
    "is_a_number": ({"w": 3}, "'w' has 3 where"),
    "has_more_fields": ({"w": F32 | {"module": "os"}}, "'w' has"),
    "has_a_dtype_of_a_list": (one(dtype=["F32"]), "'w' has dtype"),
}, "TensorFlow CVE-2021-41198, Keras CVE-2026-0897: declared sizes against the bytes there are", container,
    ".safetensors")  # fmt: skip


@case("safetensors", "dtype F128|F128", "a dtype that nobody has", "DTypeError")
def tensor_of_an_unknown_dtype(folder: Path) -> Path:
    return put(folder, "net.safetensors", container(one(dtype="F128")))


@case("safetensors", "no array can have", "legal to the format, too large for any array")
def tensor_of_nothing_but_huge(folder: Path) -> Path:
    header = {"w": {"dtype": "F32", "shape": [1 << 62, 1 << 62, 0], "data_offsets": [0, 0]}}
    return put(folder, "net.safetensors", container(header, b""))


@case("safetensors", "not valid JSON", "a sparse file that claims to be terabytes")
def header_of_a_sparse_terabyte(folder: Path) -> Path:
    return sparse(folder, "net.safetensors", 1 << 40, struct.pack("<Q", 99_999_999) + b"{")


def _cut(at: int) -> Any:
    whole = container(one(), bytes(8))
    return whole[:at], "truncated|no format|bytes|cut off"


many("safetensors", "cut", {f"at_{at}": _cut(at) for at in (0, 1, 7, 8, 9, 20, 60, 66, 70)},
     "a download that broke off, at every boundary", bytes, ".safetensors")  # fmt: skip


# -- folders -------------------------------------------------------------------------------------------------------


def folder_of(folder: Path, index: Any, config: bytes | None = None) -> Path:
    ml.save({"w": np.ones(2, np.float32)}, folder / "model-1.safetensors")
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    put(folder, "model.safetensors.index.json", text)
    if config is not None:
        put(folder, "config.json", config)
    return folder


def _indices() -> None:
    outside = "files of a model lie in its own folder"
    table: dict[str, tuple[Any, str, str]] = {
        "leaves_the_folder": ({"weight_map": {"w": "../secret"}}, outside, "UnsafeFileError"),
        "is_absolute": ({"weight_map": {"w": "/etc/passwd"}}, outside, "UnsafeFileError"),
        "goes_down_and_up": ({"weight_map": {"w": "a/../../secret"}}, outside, "UnsafeFileError"),
        "has_a_backslash": ({"weight_map": {"w": "..\\secret"}}, outside, "UnsafeFileError"),
        "is_a_folder": ({"weight_map": {"w": "."}}, outside, "UnsafeFileError"),
        "is_empty": ({"weight_map": {"w": ""}}, outside, "UnsafeFileError"),
        "has_a_null": ({"weight_map": {"w": "a\0b"}}, "a.*b", "FileError|UnsafeFileError|FormatError"),
        "is_missing": ({"weight_map": {"w": "model-2.safetensors"}}, "model-2", "MissingFileError"),
        "names_the_index": ({"weight_map": {"w": "model.safetensors.index.json"}}, "index", "FormatError"),
        "is_a_number": ({"weight_map": {"w": 7}}, "weight_map", "FormatError"),
        "is_no_table": ({"weight_map": ["w"]}, "weight_map", "FormatError"),
        "is_absent": ({}, "weight_map", "FormatError"),
        "places_a_tensor_wrongly": ({"weight_map": {"v": "model-1.safetensors"}}, "does not hold", "FormatError"),
        "hides_a_tensor": ({"weight_map": {}}, "weight_map|no", "FormatError"),
        "has_nan": (b'{"weight_map": {"w": NaN}}', "holds NaN", "FormatError"),
        "has_a_key_twice": (b'{"weight_map": {"w": "a", "w": "model-1.safetensors"}}', "twice", "FormatError"),
        "is_deep": (b'{"weight_map": ' + b"{\"a\":" * 30_000 + b"1" + b"}" * 30_001, "valid JSON", "FormatError"),
    }  # fmt: skip
    for name, (index, says, error) in table.items():

        def build(folder: Path, index: Any = index) -> Path:
            put(folder.parent, "secret", container(one()))
            return folder_of(folder, index)

        build.__name__ = f"index_{name}"
        if name == "hides_a_tensor":
            continue  # nothing of the file is opened then: no tensors, no error
        case(
            "folder", says, "ONNX CVE-2022-25882, 2024-27318: a path out of the file leaves the folder", error
        )(build)


_indices()


def _linked(how: str) -> Any:
    def build(folder: Path) -> Path:
        secret = put(folder.parent, "secret", container(one()))
        put(folder, "model.safetensors.index.json", b'{"weight_map": {"w": "model-1.safetensors"}}')
        if how == "symbolic":
            os.symlink(secret, folder / "model-1.safetensors")
        else:
            os.symlink("/dev/zero", folder / "model-1.safetensors")
        return folder

    build.__name__ = f"index_with_a_link_{how}"
    return build


case("folder", "model-1", "a device in a file's place", "FileError|FormatError|UnsafeFileError")(
    _linked("device")
)


@case("folder", "config.json.*twice", "the second value hides the first")
def config_with_a_key_twice(folder: Path) -> Path:
    index = {"weight_map": {"w": "model-1.safetensors"}}
    return folder_of(folder, index, b'{"hidden_size": 1, "hidden_size": 2}')


@case("folder", "config.json.*NaN", "NaN is no JSON")
def config_with_nan(folder: Path) -> Path:
    return folder_of(folder, {"weight_map": {"w": "model-1.safetensors"}}, b'{"a": NaN}')


@case("folder", "config.json.*place of an object", "Keras CVE-2025-1550: a config is data, an object of it")
def config_that_is_a_list(folder: Path) -> Path:
    return folder_of(folder, {"weight_map": {"w": "model-1.safetensors"}}, b"[]")


# -- checkpoints ---------------------------------------------------------------------------------------------------


def checkpoint(folder: Path) -> Path:
    """A good one."""
    return ml.io.save_checkpoint(folder, step=1, rng=False, model={"w": ml.ones((2,))})


def manifest(place: Path, change: Any) -> Path:
    """Change a manifest's content, and give it the hash that belongs to the new one."""
    start, mark, rest = (place / "manifest.json").read_bytes().partition(b'",\n"content": ')
    content = change(json.loads(rest[:-2]))
    made = content if isinstance(content, bytes) else json.dumps(content).encode()
    put(
        place,
        "manifest.json",
        start[:-64] + hashlib.sha256(made).hexdigest().encode() + mark + made + rest[-2:],
    )
    return place


def _checkpoints() -> None:
    def tensors(**fields: Any) -> Any:
        def change(content: dict[str, Any]) -> dict[str, Any]:
            content["tensors"] = {name: row | fields for name, row in content["tensors"].items()}
            return content

        return change

    table: dict[str, tuple[Any, str]] = {
        "is_of_the_future": (lambda c: c | {"version": 99}, "format 99"),
        "has_no_version": (lambda c: {}, "makes no sense"),
        "has_a_version_of_text": (lambda c: c | {"version": "2"}, "makes no sense"),
        "has_tensors_in_a_list": (lambda c: c | {"tensors": [1]}, "makes no sense|differs"),
        "has_no_tensors": (lambda c: c | {"tensors": {}}, "differs in"),
        "has_rows_of_numbers": (lambda c: c | {"tensors": dict.fromkeys(c["tensors"], 3)}, "makes no sense"),
        "has_another_dtype": (tensors(dtype="I32"), "is F32"),
        "has_another_shape": (tensors(shape=[1, 2]), "has shape"),
        "has_a_shape_of_text": (tensors(shape="22"), "has shape|makes no sense"),
        "has_another_hash": (tensors(sha256="0" * 64), "damaged"),
        "has_a_hash_of_a_list": (tensors(sha256=[1]), "damaged|makes no sense"),
        "says_complex": (tensors(dtype="C128"), "is F32"),
        "is_no_json": (lambda c: b"{" * 9, "makes no sense"),
        "is_deep": (lambda c: b'{"version": ' + b"[" * 90_000 + b"]" * 90_000 + b"}", "makes no sense"),
        "is_a_list": (lambda c: b"[2]", "makes no sense"),
        "is_in_utf_32": (lambda c: json.dumps(c).encode("utf-32-le"), "makes no sense"),
        "refers_to_no_tensor": (lambda c: c | {"state": {"model": {"$tensor": "nowhere"}}}, "nowhere"),
        "calls_something": (
            lambda c: c | {"state": {"model": {"$call": "os.system"}}},
            "unknown kind of value",
        ),
        "has_a_tuple_of_a_number": (lambda c: c | {"state": {"model": {"$tuple": 3}}}, "makes no sense"),
        "has_a_list_for_a_key": (lambda c: c | {"state": {"model": {"$dict": [[[], 1]]}}}, "makes no sense"),
    }
    for name, (change, says) in table.items():

        def build(folder: Path, change: Any = change) -> Path:
            return manifest(checkpoint(folder), change)

        build.__name__ = f"manifest_{name}"
        case("checkpoint", says, "a right hash says who wrote it last, not that it makes sense",
             "CheckpointError|FormatError")(build)  # fmt: skip

    def flip(file: str, at: int) -> Any:
        def build(folder: Path) -> Path:
            place = checkpoint(folder)
            data = bytearray((place / file).read_bytes())
            data[at] ^= 4
            put(place, file, bytes(data))
            return place

        build.__name__ = f"bit_of_{file.partition('.')[0]}_at_{at}".replace("-", "last_")
        return build

    for file, at in (("tensors.safetensors", -1), ("tensors.safetensors", 3), ("tensors.safetensors", 12),
                     ("manifest.json", 20), ("manifest.json", 60), ("manifest.json", -3)):  # fmt: skip
        case("checkpoint", "damaged|cannot be read|differs|format",
            "torch.load gave wrong values in 91.6 % of flipped bits",
             "CheckpointError|FormatError")(flip(file, at))  # fmt: skip


_checkpoints()
