"""Checkpoints that were damaged or made to do harm: nothing runs, nothing is taken on trust, one clear error each."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore.errors import DTypeError, FormatError, MlcoreError, UnsafeFileError
from mlcore.io import open_weights
from mlcore.io.torch_file.legacy import MAGIC, PROTOCOL

REFUSED = (FormatError, UnsafeFileError)
FLOATS = b"\0\0\x80?" * 6  # six ones


def zipped(members: dict[str, bytes] | list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive, written without our writer."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", method) as file,
        warnings.catch_warnings(action="ignore"),
    ):  # doubled names
        for name, raw in members.items() if isinstance(members, dict) else members:
            file.writestr(zipfile.ZipInfo(name), raw, compress_type=method)
    return buffer.getvalue()


def checkpoint(data: bytes, storages: dict[str, bytes] | None = None, **more: bytes) -> bytes:
    """A checkpoint with this pickle."""
    members = {"a/data.pkl": data, "a/byteorder": b"little", "a/version": b"3\n"} | {
        f"a/data/{key}": raw for key, raw in (storages or {"0": FLOATS}).items()
    }
    return zipped(members | {f"a/{name}": raw for name, raw in more.items()})


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module: str, attribute: str) -> bytes:
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key: str = "0", kind: str = "Float", count: int = 6, place: str = "cpu") -> bytes:
    return (
        b"("
        + text("storage")
        + name("torch", f"{kind}Storage")
        + text(key)
        + text(place)
        + number(count)
        + b"tQ"
    )


def tensor(
    shape: tuple[int, ...] = (6,),
    strides: tuple[int, ...] = (1,),
    offset: int = 0,
    of: bytes = b"",
    flags: bytes = b"",
) -> bytes:
    head = name("torch._utils", "_rebuild_tensor_v2") + b"(" + (of or storage())
    return head + number(offset) + numbers(*shape) + numbers(*strides) + b"\x89}" + flags + b"tR"


def state(value: bytes) -> bytes:
    """The pickle of a dictionary with this value."""
    return b"\x80\x02}" + text("w") + value + b"s."


def legacy(
    data: bytes, keys: Any = ("0",), raws: tuple[bytes, ...] = (struct.pack("<q", 6) + FLOATS,), **how: Any
) -> bytes:
    start = [
        how.get("magic", MAGIC),
        how.get("protocol", PROTOCOL),
        how.get("facts", {"little_endian": True}),
    ]
    pickles = [pickle.dumps(one, 2) for one in start]
    return (
        b"".join(pickles)
        + data
        + pickle.dumps(list(keys) if isinstance(keys, tuple) else keys, 2)
        + b"".join(raws)
    )


def old_storage(key: str = "0", count: int = 6, view: bytes = b"N") -> bytes:
    return (
        b"("
        + text("storage")
        + name("torch", "FloatStorage")
        + text(key)
        + text("cpu")
        + number(count)
        + view
        + b"tQ"
    )


def test_the_helpers_make_good_files(tmp_path: Path) -> None:
    (tmp_path / "zip.pt").write_bytes(checkpoint(state(tensor((2, 3), (3, 1)))))
    (tmp_path / "legacy.pt").write_bytes(legacy(state(tensor((2, 3), (3, 1), of=old_storage()))))
    for path in ("zip", "legacy"):
        assert np.asarray(ml.load(tmp_path / f"{path}.pt")["w"]).tolist() == [[1] * 3] * 2


# ---------------------------------------------------------------- names off the list


class Danger:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


OUTSIDE = [
    ("os", "system"), ("posix", "system"), ("subprocess", "Popen"), ("builtins", "eval"), ("builtins", "exec"),
    ("builtins", "getattr"), ("builtins", "__import__"), ("builtins", "open"), ("__builtin__", "compile"),
    ("builtins", "map"),
    ("torch", "load"), ("torch.hub", "load"), ("torch._utils", "_import_dotted_name"),
    ("torch.storage", "_load_from_bytes"),
    ("torch.nn.modules.linear", "Linear"), ("torch._utils", "_rebuild_tensor_v2.__globals__"),
    ("collections", "namedtuple"),
    ("operator", "attrgetter"), ("functools", "partial"), ("importlib", "import_module"), ("runpy", "run_path"),
    ("webbrowser", "open"), ("shutil", "rmtree"), ("socket", "create_connection"), ("numpy", "load"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy", "memmap"),
    ("mlcore.io.weights", "load"), ("mlcore", "load"), ("__main__", "Net"), ("torchvision.models.resnet", "ResNet"),
    ("torch.fx.graph_module", "reduce_graph_module"), ("torch._dynamo", "optimize"), ("_codecs", "decode"), ("", ""),
    ("copyreg", "_reconstructor"), ("pickle", "loads"), ("ctypes", "CDLL"), ("builtins.object", "__subclasses__"),
    ("collections.OrderedDict", "update"), ("torch.Storage", "evil"), ("torch.evil", "FakeStorage"),
]  # fmt: skip


@pytest.fixture
def audited(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What would have run: events of Python's own audit while a file is read."""
    seen: list[str] = []
    active = [True]
    forbidden = (
        "exec",
        "compile",
        "os.system",
        "subprocess.Popen",
        "socket.",
        "import",
        "os.posix_spawn",
        "ctypes.",
    )

    def hook(event: str, _arguments: Any) -> None:
        if active[0] and event.startswith(forbidden):
            seen.append(event)

    sys.addaudithook(hook)
    yield seen
    active[0] = False


@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.parametrize("how", ["REDUCE", "NEWOBJ", "STACK_GLOBAL", "value", "Python's pickle"])
def test_no_name_off_the_list_is_even_looked_up(
    tmp_path: Path, container: str, how: str, audited: list[str]
) -> None:
    for module, attribute in OUTSIDE:
        found = name(module, attribute)
        if how == "STACK_GLOBAL":
            found = text(module) + text(attribute) + b"\x93"
        call = {"NEWOBJ": b"\x81", "value": b""}.get(how, b"R")
        value = found + (b"" if how == "value" else text("echo harm") + b"\x85" + call)
        data = state(value)
        if how == "Python's pickle":
            data = pickle.dumps({"w": Danger(os.system, "echo harm")}, 4)
        path = tmp_path / "x.pt"
        path.write_bytes(checkpoint(data) if container == "zip" else legacy(data))
        ml.io.open_weights  # noqa: B018  (imported before the audit)
        with pytest.raises(REFUSED) as caught:
            ml.load(path)
        del audited[:0]
        assert isinstance(caught.value, UnsafeFileError)
        text_of_it = str(caught.value)
        assert "x.pt" in text_of_it
        assert "offset" in text_of_it
        assert "torch.save(model.state_dict()" in text_of_it
        if how != "Python's pickle":
            shown = module.replace("__builtin__", "builtins")
            assert f"{shown}.{attribute}" in text_of_it
    assert not [event for event in audited if event != "import"]


# ---------------------------------------------------------------- pickles

DEEP = b"]" * 300 + b"a" * 299
CALL = name("collections", "OrderedDict")
WRONG: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "ends in mid-pickle"),
    "no end": (b"\x80\x02}", "ends in mid-pickle"),
    "two objects left": (b"\x80\x02}}.", "leaves 1 objects over"),
    "a mark left": (b"\x80\x02(}.", "leaves 0 objects over"),
    "nothing to give": (b"\x80\x02.", "ends with no object"),
    "an unknown opcode": (b"\x80\x02\xf0.", "opcode 0xf0 is none"),
    "an extension": (b"\x80\x02\x82\x01.", "opcode 0x82 is none"),
    "an instance": (b"\x80\x02(ios\nsystem\n.", "opcode 0x69 is none"),
    "an object": (b"\x80\x02(}o.", "opcode 0x6f is none"),
    "NEWOBJ_EX": (b"\x80\x04" + CALL + b")}\x92.", "opcode 0x92 is none"),
    "a buffer": (b"\x80\x05\x97.", "opcode 0x97 is none"),
    "a persistent text": (b"\x80\x020\nP0\n.", "nothing to work on|mid-pickle"),
    "protocol 9": (b"\x80\x09}.", "protocol 9"),
    "a text of 4 GB": (b"\x80\x02X\xff\xff\xff\xff}.", "4294967295 bytes were promised"),
    "bytes of 2**63": (b"\x80\x02\x8e" + b"\xff" * 8 + b"}.", "bytes were promised"),
    "a frame of 2**63": (b"\x80\x04\x95" + b"\xff" * 8 + b"}.", "a frame of"),
    "an integer of 2 GB": (b"\x80\x02\x8b\xff\xff\xff\x7f}.", "an integer of 2147483647 bytes"),
    "an integer of a million digits": (b"\x80\x02I" + b"9" * 3000 + b"\n.", "too many digits"),
    "a name without end": (b"\x80\x02c" + b"x" * 5000 + b"\n", "a line of text has no end"),
    "a memo that is not there": (b"\x80\x02h\x07.", "wrong operand"),
    "a far memo": (b"\x80\x02}r\xff\xff\xff\xffj\xfe\xff\xff\xff.", "wrong operand"),
    "calling a dictionary": (state(b"})R"), "it would call a dict on a tuple"),
    "calling with a list": (state(CALL + b"]R"), "it would call a Symbol on a list"),
    "calling a text": (state(text("os.system") + b")R"), "it would call a str"),
    "calling a dtype": (state(name("torch", "float32") + b")R"), "it would call a Kind"),
    "a class as a value": (state(CALL), "is the class collections.OrderedDict"),
    "a storage's class as a value": (state(name("torch", "FloatStorage")), "is the class"),
    "appending to a dictionary": (state(b"}}a"), "appends to a dict"),
    "appending to a tensor": (state(tensor() + b"Na"), "appends to a Strided"),
    "an item of a list": (state(b"]" + text("a") + b"Ns"), "sets the items of a list"),
    "an item of a tensor": (state(tensor() + text("a") + b"Ns"), "sets the items of a Strided"),
    "an item of a text": (state(text("a") + text("b") + b"Ns"), "sets the items of a str"),
    "the state of a tensor": (state(tensor() + b"}b"), "set the state of a Strided"),
    "the state of a list": (state(b"]}b"), "set the state of a list"),
    "members of a list": (state(b"](K\x01\x90"), "adds members to a list"),
    "a key twice": (b"\x80\x02}(" + (text("w") + b"K\x01") * 2 + b"u.", "a key stands twice"),
    "a key twice in an OrderedDict": (
        state(CALL + b"](" + (b"(" + text("a") + b"Kat" ) * 2 + b"e\x85R"), "a key stands twice"),
    "a key without a value": (b"\x80\x02}(" + text("w") + b"u.", "a key has no value"),
    "a list as key": (b"\x80\x02}]Ns.", "a list is a key"),
    "a tensor as key": (b"\x80\x02}" + tensor() + b"Ns.", "is a key"),
    "a symbol as key": (b"\x80\x02}" + CALL + b"Ns.", "a Symbol is a key"),
    "a tuple of tuples as key": (b"\x80\x02}))\x86Ns.", "a tuple is a key"),
    "a long tuple as key": (b"\x80\x02}(" + b"K\x01" * 65 + b"tNs.", "a tuple is a key"),
    "a huge number as key": (b"\x80\x02}" + number(2**80) + b"Ns.", "more than 64 bits is a key"),
    "300 lists in each other": (state(DEEP), "nested too deep"),
    "200,000 tuples in each other": (state(b")" + b"\x85" * 200_000), "nested too deep"),
    "a list in itself": (state(b"]q\x00h\x00a"), "nested too deep"),
    "a dictionary in itself": (b"\x80\x02}q\x00" + text("a") + b"h\x00s.", "nested too deep"),
    "a billion laughs": (state(b"]q\x00" + b"".join(
        b"](" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60))
        + b"\x86" * 60), "without end"),
    "a million lists": (state(b"](" + b"]" * 2_000_000 + b"e"), "far more memory"),
    "a million copies": (
        state(b"}(" + b"".join(number(i) + b"N" for i in range(20_000)) + b"uq\x00(" + (CALL
        + b"h\x00\x85R") * 500 + b"t"),
        "far more memory"),
    "an OrderedDict of numbers": (state(CALL + b"K\x05\x85R"), "made of a int"),
    "a set of a number": (state(name("builtins", "set") + b"K\x05\x85R"), "a set is made of a int"),
    "a set of lists": (state(name("builtins", "set") + b"]]a\x85R"), "a list is a key"),
    "a bytearray of a size": (state(name("builtins", "bytearray") + number(2**40) + b"\x85R"), "made of a int"),
    "a complex number of texts": (state(name("builtins", "complex") + text("1") + text("2") + b"\x86R"), "made of"),
    "bytes of an odd encoding": (state(name("_codecs", "encode") + text("x") + text("rot13") + b"\x86R"), "encoding"),
    "a Size of texts": (state(name("torch", "Size") + b"]" + text("x") + b"a\x85R"), "torch.Size is made of"),
    "a device of lists": (state(name("torch", "device") + b"]\x85R"), "torch.device is made of"),
    "an array of objects": (state(name("numpy", "dtype") + text("O8") + b"\x89\x88\x87R"), "NumPy's dtype 'O8'"),
    "a structured dtype": (state(name("numpy", "dtype") + text("V16") + b"\x89\x88\x87R"), "NumPy's dtype 'V16'"),
    "a dtype of an odd order": (
        state(name("numpy", "dtype") + text("f8") + b"\x89\x88\x87R(K\x03" + text("x") + b"tb"), "byte order 'x'"),
    "a number of too few bytes": (
        state(name("numpy.core.multiarray", "scalar") + name("numpy", "dtype") + text("f8") + b"\x85RC\x01x\x86R"),
        "a number of NumPy's is made of"),
    "too many arguments": (state(name("torch", "Size") + b"))\x86R"), "wrong operand"),
}  # fmt: skip


@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.parametrize("case", WRONG)
def test_pickles_that_are_wrong(tmp_path: Path, case: str, container: str) -> None:
    data, words = WRONG[case]
    content = checkpoint(data)
    if container == "legacy":  # where a pickle without an end runs on into the next one
        words += "|objects over"
        old = data.replace(storage(), old_storage())
        content = legacy(old, *(() if old != data else ((), ())))
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(FormatError, match=words) as caught:
        ml.load(tmp_path / "x.pt")
    assert "x.pt" in str(caught.value)
    assert len(str(caught.value)) < 1500


# ---------------------------------------------------------------- tensors

TENSORS: dict[str, tuple[bytes, str]] = {
    "too long": (tensor((7,)), r"shape \(7,\).*beyond the 6 elements of its storage '0'"),
    "an offset beyond": (tensor((1,), offset=6), "offset 6 reaches beyond"),
    "a stride beyond": (tensor((2,), (6,)), "reaches beyond"),
    "a negative size": (tensor((-1,)), r"the shape \(-1\)"),
    "a negative stride": (tensor((2,), (-1,), 3), r"the strides \(-1\)"),
    "a negative offset": (tensor(offset=-1), r"the offset \(-1\)"),
    "a huge offset": (tensor(offset=2**70), "the offset"),
    "a shape that overflows to 0": (tensor((2**32, 2**32), (0, 0)), "has 18446744073709551616 elements"),
    "a shape that overflows": (tensor((2**33, 2**31), (0, 0)), "has 18446744073709551616 elements"),
    "nothing of a huge shape": (tensor((2**40, 2**40, 0), (0, 0, 1)), "elements"),
    "a petabyte of one element": (tensor((2**48,), (0,)), "repeats the 6 elements"),
    "strides that overflow": (tensor((2, 2), (2**62, 2**62)), "reaches beyond"),
    "fewer strides": (tensor((2, 3), (1,)), "2 dimensions and 1 strides"),
    "65 dimensions": (tensor((1,) * 65, (1,) * 65), "65 dimensions"),
    "no storage": (tensor(of=b"N"), "a tensor is made of a NoneType"),
    "a text for a storage": (tensor(of=text("0")), "a tensor is made of a str"),
    "a tensor of a tensor": (tensor(of=tensor()), "a tensor is made of a Strided"),
    "a member that is not there": (tensor(of=storage("9")), "no data/9"),
    "a key that leads out": (tensor(of=storage("../../etc/passwd")), r"no data/\.\./"),
    "a longer storage": (tensor(of=storage(count=7)), "has 24 bytes, its 7 elements of float32 take 28"),
    "a shorter storage": (tensor((5,), of=storage(count=5)), "has 24 bytes, its 5 elements"),
    "a storage of another dtype": (tensor(of=storage(kind="Double")), "its 6 elements of float64 take 48"),
    "a storage of 2**61 elements": (tensor(of=storage(count=2**61)), "refers to a storage as"),
    "a negative storage": (tensor(of=storage(count=-1)), "refers to a storage as"),
    "a storage on meta": (tensor(of=storage(place="meta")), "device meta"),
    "a storage of two dtypes": (
        b"(" + tensor() + tensor((3,), of=storage(kind="Double", count=3)) + b"t",
        "6 elements of float32 at one place"),
    "a persistent text": (text("storage") + b"Q", "refers to 'storage'"),
    "a persistent list": (b"]Q", "refers to a list"),
    "a module": (
        b"(" + text("module") + text("Net") + text("net.py") + text("class Net: pass") + b"tQ", "a whole module"),
    "flags that are no dictionary": (tensor(flags=text("conj")), "metadata is a str"),
    "a parameter of a text": (
        name("torch._utils", "_rebuild_parameter") + b"(" + text("x") + b"\x89}tR", "a parameter is made of"),
    "a sparse tensor": (name("torch._utils", "_rebuild_sparse_tensor") + b"))\x86R", r"(?s)a sparse tensor.*to_dense"),
    "a quantised tensor": (
        name("torch._utils", "_rebuild_qtensor") + b"))\x86R", r"(?s)a quantised tensor.*dequantize"),
    "a nested tensor": (name("torch._utils", "_rebuild_nested_tensor") + b"))\x86R", "a nested tensor"),
    "a tensor on meta": (name("torch._utils", "_rebuild_meta_tensor_no_storage") + b"))\x86R", "device meta"),
    "a tensor's class": (name("torch", "Tensor") + b")R", "made from its class alone"),
    "a tensor of a type of its own": (
        name("torch._tensor", "_rebuild_from_type_v2") + b"(" + name("torch._utils", "_rebuild_tensor_v2")
        + name("torch", "Size") + b")}tR", "a type of its own"),
    "a rebuilt text": (
        name("torch._tensor", "_rebuild_from_type_v2") + b"(" + text("x") + name("torch", "Tensor") + b")}tR",
        "no tensor"),
    "a dtype that is none": (
        name("torch._utils", "_rebuild_tensor_v3") + b"(" + storage() + b"K\x00" + numbers(6) + numbers(1)
        + b"\x89}" + text("float32") + b"tR", "dtype is a str"),
}  # fmt: skip


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_are_wrong(tmp_path: Path, case: str) -> None:
    data, words = TENSORS[case]
    (tmp_path / "x.pt").write_bytes(checkpoint(state(data)))
    with pytest.raises(REFUSED, match=words) as caught:
        ml.load(tmp_path / "x.pt")
    assert "x.pt" in str(caught.value)


@pytest.mark.parametrize("kind", ["QInt8", "QUInt8", "QInt32", "QUInt4x2"])
def test_quantised_storages(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.pt").write_bytes(checkpoint(state(tensor(of=storage(kind=kind)))))
    with pytest.raises(DTypeError, match=r"(?s)storage '0' is of dtype q.*dequantize"):
        ml.load(tmp_path / "x.pt")


def test_many_views_of_one_storage_take_its_memory_once(tmp_path: Path) -> None:
    """10,000 tensors of 1 MB out of one storage of 1 MB: no 10 GB."""
    raw = b"\0\0\x80?" * (1 << 18)
    shared = storage(count=1 << 18) + b"q\x01"
    first = b"](" + tensor((1 << 18,), of=shared)
    data = first + tensor((1 << 18,), of=b"h\x01") * 9_999 + b"e"
    expanded = tensor((1 << 10, 1 << 18), (0, 1), of=storage("1", count=1 << 18))
    wide = tensor((1 << 20, 24), (0, 1), of=storage("2", count=24))
    content = checkpoint(state(b"(" + data + expanded + wide + b"t"), {"0": raw, "1": raw, "2": FLOATS * 4})
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(FormatError, match="repeats"):
        ml.load(tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes(checkpoint(state(b"(" + data + wide + b"t"), {"0": raw, "2": FLOATS * 4}))
    tensors, repeated = ml.load(tmp_path / "x.pt")["w"]
    assert np.shares_memory(np.asarray(tensors[0]), np.asarray(tensors[-1]))
    assert np.asarray(repeated).strides == (0, 4)
    tensors[0][0] = 7.0
    assert float(np.asarray(tensors[1])[0]) == 1.0


# ---------------------------------------------------------------- zip archives

GOOD = checkpoint(state(tensor()))


def entry(content: bytes, member: str) -> int:
    """Where the directory's entry of a member begins."""
    at = content.index(b"PK\x01\x02")
    while content[at + 46 : at + 46 + len(member)] != member.encode():
        at = content.index(b"PK\x01\x02", at + 4)
    return at


def patched(at: int, raw: bytes, content: bytes = GOOD) -> bytes:
    return content[:at] + raw + content[at + len(raw) :]


def in_directory(member: str, field: int, raw: bytes, content: bytes = GOOD) -> bytes:
    return patched(entry(content, member) + field, raw, content)


ZEROS = zipped({"a/data.pkl": state(tensor()), "a/data/0": bytes(40 << 20)}, zipfile.ZIP_DEFLATED)
ARCHIVES: dict[str, tuple[bytes, str]] = {
    "a wrong CRC of a storage": (patched(GOOD.index(FLOATS), b"\1"), r"(?s)'a/data/0' is damaged.*offset.*CRC-32"),
    "a wrong CRC of the pickle": (patched(GOOD.index(b"Storage"), b"s"), "'a/data.pkl' is damaged"),
    "a member twice": (zipped([("a/data.pkl", state(b"N")), ("a/data.pkl", state(b"N"))]), "'a/data.pkl' twice"),
    "two folders": (zipped({"a/data.pkl": state(b"N"), "b/data.pkl": state(b"N")}), "outside of its folder 'a'"),
    "no folder": (zipped({"data.pkl": state(b"N"), "a/data.pkl": b""}), "outside of its folder"),
    "no pickle": (zipped({"a/other": b"x", "a/data.pkl.bak": b""}) , "no data.pkl|no known format"),
    "a name that leads out": (checkpoint(state(tensor()), **{"../../etc/cron.d/x": b"harm"}), "leads out"),
    "an absolute name": (zipped({"/a/data.pkl": state(b"N")}), "leads out"),
    "a name with a drive": (zipped({"C:/data.pkl": state(b"N")}), "leads out"),
    "a name with backslashes": (in_directory("a/version", 46, b"a\\version"), "leads out"),
    "a name with a zero": (in_directory("a/version", 46, b"a/ver\0ion"), "leads out"),
    "encrypted": (in_directory("a/data/0", 8, b"\x01"), "is encrypted"),
    "an unknown method": (in_directory("a/data/0", 10, b"\x0e\0"), "method 14"),
    "members in each other": (
        in_directory("a/data/0", 42, struct.pack("<I", entry(GOOD, "a/data.pkl") and 0)), "not where|overlaps"),
    "a size beyond the file": (
        in_directory("a/data/0", 20, struct.pack("<2I", 2**31, 2**31)), "2147483648 .*at another|reaches into"),
    "a size of its own": (in_directory("a/data/0", 24, struct.pack("<I", 25)), "of 25 bytes takes 24"),
    "a header beyond the file": (in_directory("a/data/0", 42, struct.pack("<I", 2**31)), "lies at bytes"),
    "a bomb": (ZEROS, r"compressed members would become 41943"),
    "a member that is not deflated": (
        in_directory("a/data/0", 10, b"\x08\0"), "does not decompress|cannot be decompressed"),
    "more members than bytes": (
        patched(len(GOOD) - 12, struct.pack("<H", 60_000), patched(len(GOOD) - 14, struct.pack("<H", 60_000))),
        "announces 60000 members"),
    "fewer members": (
        patched(len(GOOD) - 12, b"\1\0", patched(len(GOOD) - 14, b"\1\0")), "follow the archive's directory"),
    "several parts": (patched(len(GOOD) - 18, b"\1\0"), "one part of several"),
    "a directory elsewhere": (patched(len(GOOD) - 6, struct.pack("<I", 3)), "does not end at byte"),
    "bytes behind the end": (GOOD + b"x", "no directory at its end"),
    "bytes before the start": (b"PK" + b"#!/bin/sh\n" + GOOD, "does not end|no known format"),
    "an odd byte order": (checkpoint(state(tensor())).replace(b"little", b"middle"), "byteorder' is damaged"),
    "a zip in a zip": (zipped({"a/data.pkl": GOOD}), "opcode 0x50"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives_that_are_wrong(tmp_path: Path, case: str) -> None:
    content, words = ARCHIVES[case]
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(REFUSED, match=words) as caught:
        ml.load(tmp_path / "x.pt")
    assert "x.pt" in str(caught.value)
    assert os.listdir(tmp_path) == ["x.pt"]


def test_torchscript_and_others_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(
        zipped({"a/data.pkl": state(b"N"), "a/constants.pkl": b"\x80\x02).", "a/code/x.py": b"harm"})
    )
    with pytest.raises(UnsafeFileError, match=r"(?s)TorchScript.*torch.jit.load\(path\).state_dict"):
        ml.load(path)
    buffer = bytearray(1024)
    buffer[:5], buffer[257:262] = b"pickle"[:5], b"ustar"
    path.write_bytes(buffer)
    with pytest.raises(FormatError, match=r"(?s)tar archive.*torch.save it again"):
        ml.load(path)
    for content, words in (
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"), (b"<!DOCTYPE html>", "HTML"),
        (b"", "empty|0 bytes"),
    ):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(FormatError, match=words):
            ml.load(path)


# ---------------------------------------------------------------- the old container

OLD: dict[str, tuple[bytes, str]] = {
    "a plain pickle": (pickle.dumps([1, 2]), r"(?s)no checkpoint of PyTorch's.*mlcore.save"),
    "another number": (legacy(state(b"N"), magic=7), "no checkpoint of PyTorch's"),
    "another protocol": (legacy(state(b"N"), protocol=1002), "protocol 1002"),
    "no facts": (legacy(state(b"N"), facts=3), "nothing of the machine"),
    "no list of keys": (legacy(state(tensor(of=old_storage())), keys={"0": 1}), "no list of keys"),
    "numbers for keys": (legacy(state(tensor(of=old_storage())), keys=(0,)), "no list of keys"),
    "a key that is not used": (legacy(state(tensor(of=old_storage())), keys=("0", "1")), "does not fit.*'1'"),
    "a key twice": (legacy(state(tensor(of=old_storage())), keys=("0", "0")), "does not fit.*one twice"),
    "no key": (legacy(state(tensor(of=old_storage())), keys=()), "does not fit.*'0'"),
    "another size": (
        legacy(state(tensor(of=old_storage())), raws=(struct.pack("<q", 7) + FLOATS,)), "7 elements in place of 6"),
    "a negative size": (
        legacy(state(tensor(of=old_storage())), raws=(struct.pack("<q", -6) + FLOATS,)), "-6 elements in place of 6"),
    "a terabyte": (
        legacy(state(tensor(of=old_storage(count=2**38))), raws=(struct.pack("<q", 2**38) + FLOATS,)), "lies at bytes"),
    "bytes left": (legacy(state(tensor(of=old_storage()))) + b"x", "1 bytes follow the last storage"),
    "a storage cut short": (legacy(state(tensor(of=old_storage())))[:-1], "lies at bytes"),
    "a part beyond its storage": (
        legacy(state(tensor((2,), of=old_storage(view=b"(" + text("v") + b"K\x05K\x02t")))), "elements 5 to 7"),
    "a negative part": (
        legacy(state(tensor((2,), of=old_storage(view=b"(" + text("v") + number(-1) + b"K\x02t")))),
        "elements -1 to 1"),
    "a part that is none": (legacy(state(tensor((2,), of=old_storage(view=text("v"))))), "is given as 'v'"),
    "a tensor among the facts": (
        pickle.dumps(MAGIC, 2) + pickle.dumps(PROTOCOL, 2) + state(tensor(of=old_storage())), "not on the list"),
}  # fmt: skip


@pytest.mark.parametrize("case", OLD)
def test_old_files_that_are_wrong(tmp_path: Path, case: str) -> None:
    content, words = OLD[case]
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(REFUSED, match=words) as caught:
        ml.load(tmp_path / "x.pt")
    assert "x.pt" in str(caught.value)


def test_a_part_of_an_old_storage(tmp_path: Path) -> None:
    view = old_storage(view=b"(" + text("v") + b"K\x02K\x03t")
    raw = struct.pack("<q6f", 6, *range(6))
    (tmp_path / "x.pt").write_bytes(
        legacy(state(b"(" + tensor((2,), of=view, offset=1) + tensor(of=old_storage()) + b"t"), raws=(raw,))
    )
    part, all_of_it = ml.load(tmp_path / "x.pt")["w"]
    assert np.asarray(part).tolist() == [3, 4]
    assert np.asarray(all_of_it).tolist() == [0, 1, 2, 3, 4, 5]


# ---------------------------------------------------------------- everything cut short, every byte changed


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_every_truncation_is_noticed(tmp_path: Path, container: str) -> None:
    content = GOOD if container == "zip" else legacy(state(tensor(of=old_storage())))
    for size in range(len(content)):
        (tmp_path / "x.pt").write_bytes(content[:size])
        with pytest.raises(MlcoreError) as caught:
            ml.load(tmp_path / "x.pt")
        assert isinstance(caught.value, REFUSED)


def test_every_byte_changed_is_noticed_or_harmless(tmp_path: Path) -> None:
    """A zip's CRCs notice every change of a value; what is left are dates and the like."""
    noticed = 0
    for at in range(len(GOOD)):
        for bit in (1, 128):
            (tmp_path / "x.pt").write_bytes(patched(at, bytes([GOOD[at] ^ bit])))
            try:
                with open_weights(tmp_path / "x.pt") as weights:
                    values = {key: weights.read(key).tolist() for key in weights}
            except MlcoreError:
                noticed += 1
                continue
            assert values == {"w": [1.0] * 6}
    print(f"{2 * len(GOOD)} changed files, {noticed} noticed, the others give the same values")
    assert noticed > len(GOOD)
