"""Hostile npy and npz files."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

from hostile_files.cases import case, many, put
from hostile_files.of_torch import at, bomb_of

GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"


class Shell:
    """Pickled, it is a command."""

    def __reduce__(self) -> Any:
        return os.system, ("touch run-by-a-pickle",)


def npy(
    header: str | bytes = GOOD, data: bytes = bytes(8), *, version: int = 1, length: int | None = None
) -> bytes:
    raw = header.encode("latin-1") if isinstance(header, str) else header
    raw += b" " * (-(len(raw) + 11) % 64) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(raw) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + raw + data


def head(**changes: str) -> str:
    fields = {"descr": "'<f4'", "fortran_order": "False", "shape": "(2,)"} | changes
    return "{" + "".join(f"'{name}': {value}, " for name, value in fields.items()) + "}"


def npz(data: bytes, name: str = "w.npy", *more: tuple[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as zipped:
        for one, content in ((name, data), *more):
            zipped.writestr(zipfile.ZipInfo(one), content)
    return held.getvalue()


RUN = pickle.dumps(Shell())
OBJECTS = {
    "of_objects": (npy(head(descr="'|O'"), RUN), "Python objects"),
    "of_objects_without_an_order": (npy(head(descr="'O'"), RUN), "Python objects"),
}
many(
    "npy", "array", OBJECTS, "CVE-2019-6446: arrays of objects are pickled", bytes, ".npy", "UnsafeFileError"
)
many("npz", "array", {name: (npz(data), says) for name, (data, says) in OBJECTS.items()},
     "CVE-2019-6446, inside of an archive", bytes, ".npz", "UnsafeFileError")  # fmt: skip

HEADERS: dict[str, tuple[bytes, str]] = {
    "of_gigabytes": (npy(version=2, length=0xFFFFFFF0), "header of 4294967280 bytes"),
    "beyond_the_file": (npy(length=900)[:200], "header|lies at bytes|truncated"),
    "of_version_9": (npy(version=1).replace(b"NUMPY\x01", b"NUMPY\x09"), "version"),
    "that_is_a_call": (npy("__import__('os').system('touch run-by-a-header')"), "makes no sense"),
    "with_a_call_for_a_shape": (npy(head(shape="(__import__('os').getpid(),)")), "makes no sense"),
    "with_a_call_for_a_dtype": (npy(head(descr="__import__('os')")), "makes no sense"),
    "of_another_key": (npy(head() .replace("shape", "shepa")), "makes no sense"),
    "with_a_key_twice": (npy("{'descr': '<f4', 'descr': '<f4', 'shape': (2,), }"), "makes no sense"),
    "with_more_keys": (npy(head()[:-1] + "'more': 1, }"), "makes no sense"),
    "without_a_shape": (npy("{'descr': '<f4', 'fortran_order': False}"), "makes no sense"),
    "deep": (npy("{'shape': " + "(" * 4000 + ")" * 4000 + "}"), "makes no sense|shape"),
    "of_brackets": (npy("{'descr': " + "[" * 9000), "makes no sense"),
    "that_is_no_text": (npy(b"{'descr': '\xff\xff'", version=3), "no text"),
    "of_a_negative_size": (npy(head(shape="(-2,)")), "shape|sense"),
    "of_a_size_that_is_true": (npy(head(shape="(True,)")), "shape|sense"),
    "of_a_size_of_a_float": (npy(head(shape="(2.0,)")), "shape|sense"),
    "of_a_size_of_5000_digits": (npy(head(shape="(" + "9" * 5000 + ",)")), "shape"),
    "of_a_product_that_wraps": (npy(head(shape="(4294967296, 4294967296)")), "takes 73786976294838206464 bytes"),
    "of_a_product_that_wraps_to_its_size": (npy(head(shape="(4611686018427387906,)")), "takes"),
    "of_nothing_but_huge": (npy(head(shape="(4611686018427387904, 4611686018427387904, 0)"), b""),
        "no array can have|shape"),
    "of_100_dimensions": (npy(head(shape="(" + "1, " * 100 + ")")), "shape"),
    "of_fewer_bytes": (npy(data=bytes(7)), "takes 8 bytes, 7 follow"),
    "of_more_bytes": (npy(data=bytes(9)), "takes 8 bytes, 9 follow"),
    "of_petabytes": (npy(head(shape="(1125899906842624,)")), "takes 4503599627370496 bytes"),
}  # fmt: skip
WHY = (
    "a header is evaluated nowhere, and its cap comes before the read (numpy/lib/_format_impl.py reads first)"
)
many("npy", "header", HEADERS, WHY, bytes, ".npy")
many("npz", "header", {name: (npz(data), says) for name, (data, says) in HEADERS.items()}, WHY, bytes, ".npz")
many("npy", "dtype", {
    "of_records": (npy(head(descr="[('a', '<i4'), ('b', '|O')]")), "records"),
    "of_text": (npy(head(descr="'<U2'")), "text"),
    "of_dates": (npy(head(descr="'<M8[s]'")), "dates"),
    "of_nothing": (npy(head(descr="'|V4'")), "without a meaning"),
    "of_huge_items": (npy(head(descr="'<f99999999'")), "dtype"),
    "of_a_name": (npy(head(descr="'object'")), "dtype|object"),
}, "dtypes that mlcore does not have are named, none is made by NumPy from the file's text", bytes, ".npy",
    "DTypeError|UnsafeFileError|FormatError")  # fmt: skip

CENTRAL = b"PK\x01\x02"
many("npz", "archive", {
    "cut": (npz(npy())[:-30], "truncated|no format|directory|cut off"),
    "with_a_name_twice": (npz(npy(), "w.npy", ("v.npy", npy())).replace(b"v.npy", b"w.npy"), "twice"),
    "with_a_path": (npz(npy(), "../w.npy"), "name|path|called|outside|folder"),
    "with_an_absolute_path": (npz(npy(), "/w.npy"), "name|path|called|outside|folder"),
    "with_changed_bytes": (npz(npy(data=b"12345678")).replace(b"12345678", b"12345679"), "damaged|CRC"),
    "that_is_encrypted": (at(npz(npy()), CENTRAL, 8, "<H", 1), "encrypted"),
    "of_an_unknown_method": (at(npz(npy()), CENTRAL, 10, "<H", 93), "method|compress"),
    "of_a_huge_member": (at(npz(npy()), CENTRAL, 24, "<I", 0xFFFFFFF0), "bytes"),
    "of_something_else_too": (npz(npy(), "w.npy", ("run.py", b"import os")), "run.py|begins|no npy"),
}, "Keras #23010, #23101, #23303: archives that lie", bytes, ".npz", "FormatError|UnsafeFileError")  # fmt: skip


@case("npz", "would become|times the file", "a zip bomb: 200 MiB of zeros in 200 kB")
def npz_bomb(folder: Path) -> Path:
    header = npy(head(shape=f"({50 << 20},)"), b"")
    return put(folder, "net.npz", bomb_of("w.npy", header, 200 << 20))
