"""Hostile checkpoints of PyTorch's: pickles that would run something, and archives and files that lie."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from hostile_files.cases import case, many, put

STORAGE = bytes(range(64))  # 16 float32
PROTO, STOP = b"\x80\x02", b"."
RCE = "CVE-2025-32434 and torch.load's weights_only gate: no branch may run what a pickle names"
SHAPES = "CVE-2026-24747: a storage's size and a tensor's shape are checked against the bytes"


def archive(
    pickle: bytes, *more: tuple[str, bytes], storage: bytes = STORAGE, compressed: bool = False
) -> bytes:
    """A zip as PyTorch writes it."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as zipped:
        for name, data in (("data.pkl", pickle), ("data/0", storage), ("version", b"3\n"), *more):
            zipped.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
    return held.getvalue()


def g(module: str, name: str) -> bytes:
    """GLOBAL."""
    return b"c" + f"{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(
    kind: str = "FloatStorage", key: bytes = text("0"), count: int = 16, device: bytes = text("cpu")
) -> bytes:
    return b"(" + text("storage") + g("torch", kind) + key + device + integer(count) + b"tQ"


def tensor(
    shape: bytes = numbers(16), strides: bytes = numbers(1), offset: int = 0, held: bytes = b""
) -> bytes:
    rest = b"\x89" + g("collections", "OrderedDict") + b")RtR"
    return (
        g("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + (held or storage())
        + integer(offset)
        + shape
        + strides
        + rest
    )


def pickle(body: bytes) -> bytes:
    return PROTO + body + STOP


def entry(value: bytes, key: str = "w") -> bytes:
    """A dictionary of one value."""
    return b"}" + text(key) + value + b"s"


def zipped(body: bytes) -> bytes:
    return archive(pickle(body))


def old(
    body: bytes, tail: bytes = b"\x80\x02]X\x01\x00\x00\x000a." + struct.pack("<q", 16) + STORAGE
) -> bytes:
    """The container before PyTorch 1.6 around the same pickle, whose storages' ids have one more item there."""
    head = pickle(integer(0x1950A86A20F9469CFC6C)) + pickle(integer(1001)) + pickle(b"}")
    return head + pickle(body.replace(b"tQ", b"NtQ")) + tail


# -- what would run something --------------------------------------------------------------------------------------

SHELL = b"(" + text("touch run-by-a-pickle") + b"tR"
RUNNING: dict[str, tuple[bytes, str]] = {
    "os_system": (g("os", "system") + SHELL, "'os.system', which is not on the list"),
    "posix_system": (g("posix", "system") + SHELL, "posix.system"),
    "nt_system": (g("nt", "system") + SHELL, "nt.system"),
    "eval": (g("builtins", "eval") + b"(" + text("1") + b"tR", "builtins.eval"),
    "eval_of_python_2": (g("__builtin__", "eval") + b"(" + text("1") + b"tR", "builtins.eval"),
    "exec": (g("builtins", "exec") + b"(" + text("1") + b"tR", "builtins.exec"),
    "getattr": (g("builtins", "getattr") + b"(" + g("collections", "OrderedDict") + text("fromkeys") + b"tR",
        "getattr"),
    "import": (g("builtins", "__import__") + b"(" + text("os") + b"tR", "__import__"),
    "open": (g("builtins", "open") + b"(" + text("/etc/passwd") + b"tR", "builtins.open"),
    "subprocess": (g("subprocess", "Popen") + b"(" + text("id") + b"tR", "subprocess.Popen"),
    "runpy": (g("runpy", "_run_code") + b")R", "runpy._run_code"),
    "bdb": (g("bdb", "Bdb") + b")R", "bdb.Bdb"),
    "pydoc_pager": (g("pydoc", "pipepager") + b")R", "pydoc.pipepager"),
    "timeit": (g("timeit", "timeit") + b")R", "timeit.timeit"),
    "pickle_loads": (g("pickle", "loads") + b")R", "pickle.loads"),
    "marshal_loads": (g("marshal", "loads") + b")R", "marshal.loads"),
    "ctypes": (g("ctypes", "CDLL") + b")R", "ctypes.CDLL"),
    "socket": (g("socket", "socket") + b")R", "socket.socket"),
    "urlopen": (g("urllib.request", "urlopen") + b")R", "urllib.request.urlopen"),
    "weakref_finalize": (g("weakref", "finalize") + b")R", "weakref.finalize"),
    "functools_partial": (g("functools", "partial") + b"(" + g("collections", "OrderedDict") + b"tR",
        "functools.partial"),
    "torch_load": (g("torch.serialization", "load") + b")R", "torch.serialization.load"),
    "torch_hub": (g("torch.hub", "load") + b")R", "torch.hub.load"),
    "torch_inductor": (g("torch._inductor.codecache", "compile_file") + b")R", "torch._inductor"),
    "torch_run_process": (g("torch.utils.collect_env", "run") + b")R", "torch.utils.collect_env.run"),
    "torch_jit": (g("torch.jit", "load") + b")R", "torch.jit.load"),
    "numpy_load": (g("numpy", "load") + b")R", "numpy.load"),
    "numpy_f2py": (g("numpy.f2py.crackfortran", "getlincoef") + b")R", "numpy.f2py"),
    "a_dotted_name": (b"\x80\x04" + text("torch._utils") + text("__builtins__.eval") + b"\x93)R", "__builtins__.eval"),
    "a_dotted_name_of_an_allowed_module": (b"\x80\x04" + text("collections") + text("OrderedDict.fromkeys") + b"\x93)R",
                                           "OrderedDict.fromkeys"),
    "a_module_in_torch": (g("torch.os", "system") + SHELL, "torch.os.system"),
    "the_reader_itself": (g("mlcore.io", "atomic_write") + b")R", "mlcore.io.atomic_write"),
    "a_name_from_text": (text("os") + text("system") + b"\x93" + SHELL, "os.system"),
    "a_name_from_the_memo": (text("os") + b"q\x00" + text("system") + b"q\x01h\x00h\x01\x93" + SHELL, "os.system"),
    "a_name_in_a_popped_value": (g("os", "system") + b"0}", "os.system"),
    "a_name_within_a_tensor": (tensor(held=g("os", "system")), "os.system"),
    "a_name_of_another_case": (g("OS", "SYSTEM") + SHELL, "OS.SYSTEM"),
    "a_name_with_a_zero": (g("collections\0os", "OrderedDict") + b")R", "collections.*OrderedDict"),
    "a_name_of_megabytes": (b"c" + b"a" * 3000 + b"\n" + b"b" * 3000 + b"\n)R", "aaa"),
    "reduce_in_a_reduce": (g("torch._utils", "_rebuild_parameter") + b"(" + g("os", "system") + SHELL + b"\x88}tR",
        "os.system"),
}  # fmt: skip
for _name, (_body, _says) in RUNNING.items():
    many("pytorch", "zip", {_name: (entry(_body), _says)}, RCE, zipped, ".pt", "UnsafeFileError")
for _name in ("os_system", "eval", "a_name_in_a_popped_value", "a_dotted_name"):
    _body, _says = RUNNING[_name]
    many("pytorch", "legacy", {_name: (entry(_body), _says)}, RCE, old, ".bin", "UnsafeFileError")

many("pytorch", "opcode", {
    "inst": (entry(b"(" + text("x") + b"ios\nsystem\n"), "opcode 0x69"),
    "obj": (entry(b"(" + g("collections", "OrderedDict") + b"o"), "opcode 0x6f"),
    "newobj_of_a_type": (entry(g("builtins", "type") + b")\x81"), "builtins.type"),
    "newobj_ex": (entry(g("collections", "OrderedDict") + b")}\x92"), "opcode 0x92"),
    "ext1": (entry(b"\x82\x01"), "opcode 0x82"),
    "ext2": (entry(b"\x83\x01\x00"), "opcode 0x83"),
    "ext4": (entry(b"\x84\x01\x00\x00\x00"), "opcode 0x84"),
    "persid_in_text": (entry(b"Pos.system\n"), "opcode 0x50"),
    "next_buffer": (entry(b"\x97"), "opcode 0x97"),
    "readonly_buffer": (entry(b"\x98"), "opcode 0x98"),
    "unknown": (entry(b"\xff"), "opcode 0xff"),
    "string_with_escapes": (entry(b"S'\\x41'\n"), "opcode 0x53"),
    "protocol_of_the_future": (b"\x80\xff}", "protocol 255"),
}, RCE, zipped, ".pt", "UnsafeFileError|FormatError")  # fmt: skip

many("pytorch", "call", {
    "of_a_number": (entry(b"K\x01)R"), "would call a int"),
    "of_text": (entry(text("eval") + b")R"), "would call a str"),
    "of_a_tensor": (entry(tensor() + b")R"), "would call a Strided"),
    "on_a_list": (entry(g("collections", "OrderedDict") + b"]R"), "on a list"),
    "with_too_few_arguments": (entry(g("torch._utils", "_rebuild_tensor_v2") + b")R"), "wrong operand"),
    "of_a_dtype": (entry(g("torch", "float32") + b")R"), "would call a Kind"),
    "build_with_setattr": (entry(tensor() + b"}" + text("__class__") + text("x") + b"sb"),
        "set the state of a Strided"),
    "build_of_a_symbol": (entry(g("collections", "OrderedDict") + b"}" + text("__call__") + b"K\x01sb"),
        "state of a Symbol"),
    "setitem_of_a_tensor": (entry(tensor() + b"K\x00K\x01s"), "sets the items of a Strided"),
    "append_to_a_tensor": (entry(tensor() + b"K\x00a"), "appends to a Strided"),
    "codec_of_another_name": (entry(g("_codecs", "encode") + b"(" + text("x") + text("rot13") + b"tR"),
        "encoding of its own"),
    "bytearray_of_a_size": (entry(g("builtins", "bytearray") + b"(" + integer(1 << 40) + b"tR"),
        "bytes are made of a int"),
    "a_class_as_a_value": (entry(g("collections", "OrderedDict")), "collections.OrderedDict"),
    "a_class_as_a_key": (b"}" + g("collections", "OrderedDict") + b"K\x01s", "is a key"),
    "a_list_as_a_key": (b"}]K\x01s", "list is a key"),
}, RCE, zipped, ".pt", "UnsafeFileError|FormatError")  # fmt: skip

# -- pickles that are damaged, or take too much --------------------------------------------------------------------

many("pytorch", "pickle", {
    "underflows": (b"0", "mid-pickle|nothing"),
    "underflows_at_a_tuple": (b"K\x01\x87", "mid-pickle|nothing"),
    "has_no_mark": (b"K\x01t", "mid-pickle|nothing"),
    "recalls_what_is_not_there": (b"h\x07", "wrong operand|nothing"),
    "recalls_a_huge_place": (b"j\xff\xff\xff\xff", "wrong operand"),
    "leaves_something": (b"K\x01K\x02", "leaves 1 objects|2 objects"),
    "has_no_end": (b"K\x01" * 3 + b"K", "mid-pickle|objects|nothing"),
    "has_text_of_gigabytes": (b"X\xff\xff\xff\xff", "truncated: 4294967295 bytes"),
    "has_text_of_2_to_63": (b"\x8d" + struct.pack("<Q", 1 << 63), "truncated"),
    "has_bytes_of_2_to_62": (b"\x8e" + struct.pack("<Q", 1 << 62), "truncated"),
    "has_an_integer_of_gigabytes": (b"\x8b\xff\xff\xff\x7f", "integer of 2147483647 bytes"),
    "has_an_integer_of_less_than_nothing": (b"\x8b\xff\xff\xff\xff", "integer of 4294967295 bytes"),
    "has_a_number_of_many_digits": (b"I" + b"9" * 4000 + b"\n", "wrong operand"),
    "has_a_line_without_end": (b"I" + b"9" * 9000, "no end"),
    "has_a_frame_that_is_too_long": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 40), "frame of"),
    "holds_itself": (b"]q\x00h\x00a", "nested too deep or without end"),
    "holds_itself_in_a_dictionary": (b"}q\x00" + text("w") + b"h\x00s", "nested too deep or without end"),
    "is_deep": (b"]" * 5000 + b"a" * 4999, "nested too deep"),
    "is_deep_in_tuples": (b")" + b"\x85" * 5000, "nested too deep"),
    "has_a_key_twice": (b"}" + (text("w") + b"K\x01s") * 2, "stands twice"),
    "has_a_key_without_a_value": (b"}(" + text("w") + b"u", "a key has no value"),
    "has_a_global_without_a_name": (b"K\x01K\x02\x93", "a global has no name"),
}, "a pickle is a program: its stack, memo and sizes are checked, and what it takes is bounded", zipped,
    ".pt")  # fmt: skip


def _bomb(levels: int = 60) -> bytes:
    """Each tuple holds the one before twice: 2 to the 60 in 300 bytes."""
    return b")q\x00" + b"".join(b"0" + b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(levels))


many("pytorch", "memo", {
    "of_2_to_60": (entry(_bomb()), "nested too deep or without end"),
    "in_a_persistent_id": (entry(_bomb() + b"Q"), "no storage"),
    "in_an_id_of_a_storage": (entry(b"(" + text("storage") + _bomb() + text("0") + text("cpu") + b"K\x10tQ"),
        "storage"),
    "in_a_shape": (entry(g("torch", "Size") + b"(" + _bomb() + b"tR"), "torch.Size"),
    "in_a_device": (entry(g("torch", "device") + b"(" + _bomb() + b"tR"), "torch.device"),
    "in_a_codec": (entry(g("_codecs", "encode") + b"(" + text("x") + _bomb() + b"tR"), "bytes are made"),
    "in_a_tensors_shape": (entry(tensor(shape=b"(" + _bomb() + b"t")), "shape"),
    "in_a_key": (b"}" + _bomb() + b"K\x01s", "is a key"),
    "in_a_type": (entry(g("torch._tensor", "_rebuild_from_type_v2") + b"(" + g("torch._utils", "_rebuild_tensor_v2")
                        + _bomb() + b")}tR"), "type of its own"),
}, "a billion laughs: what is shared is small in the file, and without end when it is written out", zipped,
    ".pt")  # fmt: skip


@case("pytorch", "far more memory|at most", "40,000 dictionaries of one opcode each")
def pickle_of_many_containers(folder: Path) -> Path:
    return put(folder, "net.pt", zipped(b"](" + b"\x8f" * 1_000_000 + b"e"))


@case(
    "pytorch",
    "tuples|far more|keys",
    "keys that all have one hash: a dictionary of them takes the square of their number",
)
def keys_of_one_hash(folder: Path) -> Path:
    """hash(-1) == hash(-2), so all tuples of the two of one length have one hash, too."""
    body = [b"}("]
    for number in range(30_000):
        digits = [b"J\xff\xff\xff\xff" if number >> bit & 1 else b"J\xfe\xff\xff\xff" for bit in range(15)]
        body.append(b"(" + b"".join(digits) + b"tN")
    return put(folder, "net.pt", zipped(b"".join(body) + b"u"))


@case(
    "pytorch", "complex|far more|keys", "the same with complex numbers, whose hash is a sum of two products"
)
def complex_keys_of_one_hash(folder: Path) -> Path:
    body = [b"}("]
    for number in range(30_000):
        parts = b"G" + struct.pack(">d", 1e12 - 1000003 * number) + b"G" + struct.pack(">d", number)
        body.append(g("builtins", "complex") + parts + b"\x86RN")
    return put(folder, "net.pt", zipped(b"".join(body) + b"u"))


# -- storages and tensors ------------------------------------------------------------------------------------------

many("pytorch", "storage", {
    "that_is_no_tuple": (entry(text("x") + b"Q"), "no storage"),
    "of_another_form": (entry(b"(" + text("storage") + b"tQ"), "no storage|by 1 items"),
    "that_is_a_module": (entry(b"(" + text("module") + text("Net") + text("net.py") + text("import os") + b"tQ"),
        "whole module"),
    "of_a_class_that_is_none": (entry(tensor(held=b"(" + text("storage") + text("F") + text("0") + text("cpu") +
        b"K\x10tQ")),
                                "refers to a storage as"),
    "of_less_than_nothing": (entry(tensor(held=storage(count=-1))), "refers to a storage as"),
    "of_2_to_62": (entry(tensor(held=storage(count=1 << 62))), "refers to a storage as"),
    "larger_than_its_member": (entry(tensor(held=storage(count=17))), "64 bytes.*take 68"),
    "much_larger_than_its_member": (entry(tensor(held=storage(count=1 << 40))), "has 64 bytes"),
    "smaller_than_its_member": (entry(tensor(held=storage(count=15), shape=numbers(15))), "64 bytes.*take 60"),
    "that_is_not_there": (entry(tensor(held=storage(key=text("7")))), "no data/7"),
    "with_a_path": (entry(tensor(held=storage(key=text("../../secret")))), "no data/../../secret"),
    "that_is_data_pkl": (entry(tensor(held=storage(key=text("../data.pkl")))), "no data/"),
    "of_two_dtypes": (b"](" + tensor() + tensor(held=storage("IntStorage")) + b"e", "at one place"),
    "of_two_sizes": (b"](" + tensor() + tensor(held=storage(count=8), shape=numbers(8)) + b"e", "at one place"),
    "of_device_meta": (entry(tensor(held=storage(device=text("meta")))), "device meta"),
}, SHAPES, zipped, ".pt", "UnsafeFileError|FormatError")  # fmt: skip
many("pytorch", "quantised", {"storage": (entry(tensor(held=storage("QInt8Storage"))), "qint8")},
     "what cannot be read is said, not guessed", zipped, ".pt", "DTypeError")  # fmt: skip

many("pytorch", "tensor", {
    "longer_than_its_storage": (entry(tensor(numbers(17))), "reaches beyond the 16 elements"),
    "behind_its_storage": (entry(tensor(offset=1)), "reaches beyond"),
    "at_a_negative_offset": (entry(tensor(offset=-1)), r"offset \(-1"),
    "of_a_negative_size": (entry(tensor(numbers(-16))), "the shape"),
    "with_a_negative_stride": (entry(tensor(strides=numbers(-1))), "the strides"),
    "with_a_huge_stride": (entry(tensor(numbers(2), numbers(1 << 62))), "reaches beyond"),
    "with_strides_that_wrap": (entry(tensor(numbers(3), numbers((1 << 63) - 1))), "reaches beyond"),
    "of_a_product_that_wraps": (entry(tensor(numbers(1 << 32, 1 << 32), numbers(0, 0))), "elements"),
    "of_a_product_that_wraps_to_0": (entry(tensor(numbers(1 << 33, 1 << 31, 0), numbers(0, 0, 0))), "elements"),
    "of_a_size_of_2_to_70": (entry(tensor(numbers(1 << 70), numbers(0))), "the shape"),
    "of_a_size_of_text": (entry(tensor(b"(" + text("16") + b"t")), "the shape"),
    "of_a_true_size": (entry(tensor(b"(\x88t")), "the shape"),
    "of_more_strides": (entry(tensor(strides=numbers(1, 1))), "1 dimensions and 2 strides"),
    "of_100_dimensions": (entry(tensor(numbers(*[1] * 100), numbers(*[1] * 100))), "100 dimensions"),
    "of_a_terabyte_from_4_bytes": (entry(tensor(numbers(1 << 38), numbers(0))), "repeats the 16 elements"),
    "of_no_storage": (entry(tensor(held=b"K\x01")), "made of a int"),
    "with_a_list_for_a_shape": (entry(tensor(b"]")), "no storage, shape and strides"),
}, SHAPES, zipped, ".pt")  # fmt: skip


# -- archives ------------------------------------------------------------------------------------------------------

GOOD = zipped(entry(tensor()))


def changed(change: Callable[[bytearray], object]) -> bytes:
    data = bytearray(GOOD)
    change(data)
    return bytes(data)


def at(data: bytes, sign: bytes, field: int, layout: str, value: int, number: int = 0) -> bytes:
    """Overwrite a field of the archive's record number `number` that begins with `sign`."""
    place = -1
    for _ in range(number + 1):
        place = data.index(sign, place + 1)
    made = bytearray(data)
    struct.pack_into(layout, made, place + field, value)
    return bytes(made)


CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


def bomb_of(name: str, start: bytes, size: int, *more: tuple[str, bytes]) -> bytes:
    """An archive with a member of zeros behind `start`, which becomes a thousand times itself."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as zipped_:
        for other, data in more:
            zipped_.writestr(zipfile.ZipInfo(other), data)
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        with zipped_.open(info, "w") as member:
            member.write(start)
            for _ in range(size >> 20):
                member.write(bytes(1 << 20))
    return held.getvalue()


def bomb(size: int = 200 << 20) -> bytes:
    body = pickle(entry(tensor(held=storage(count=size // 4))))
    return bomb_of("archive/data/0", b"", size, ("archive/data.pkl", body))


def doubled() -> bytes:
    """Two entries of the directory for one member's bytes: the zip bomb of 2019, which overlaps."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as zipped_:
        for name, data in (("data.pkl", pickle(entry(tensor()))), ("data/0", STORAGE), ("data/1", STORAGE)):
            zipped_.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
    data = held.getvalue()
    first = data.index(CENTRAL, data.index(CENTRAL) + 1)
    (offset,) = struct.unpack_from("<I", data, first + 42)
    return at(data, CENTRAL, 42, "<I", offset, 2)


many("pytorch", "archive", {
    "cut_in_half": (GOOD[: len(GOOD) // 2], "truncated|no directory|cut off"),
    "without_its_last_byte": (GOOD[:-1], "truncated|no directory|cut off"),
    "of_its_end_alone": (GOOD[GOOD.index(END) :], "directory|no format"),
    "with_a_wrong_crc": (at(GOOD, CENTRAL, 16, "<I", 0x12345678, 1), "CRC-32"),
    "with_changed_bytes": (GOOD.replace(STORAGE, STORAGE[::-1]), "damaged"),
    "with_an_encrypted_member": (at(GOOD, CENTRAL, 8, "<H", 1), "encrypted"),
    "of_an_unknown_method": (at(GOOD, CENTRAL, 10, "<H", 93), "method|compress"),
    "with_a_size_of_4_gigabytes": (at(GOOD, CENTRAL, 24, "<I", 0xFFFFFFF0, 1), "bytes"),
    "with_an_offset_behind_its_end": (at(GOOD, CENTRAL, 42, "<I", 0xFFFFFF00, 1), "byte|header|lies"),
    "with_an_offset_within_a_member": (at(GOOD, CENTRAL, 42, "<I", 8, 1), "header|byte|member"),
    "with_a_name_that_differs": (GOOD.replace(b"archive/data/0", b"archive/data/9", 1), "not where the directory says"),
    "with_a_name_twice": (GOOD.replace(b"archive/version", b"archive/data/0\0"[:15]), "twice|name|no format|0"),
    "that_announces_65000_members": (at(at(GOOD, END, 8, "<H", 65_000), END, 10, "<H", 65_000), "announces"),
    "that_announces_no_member": (at(at(GOOD, END, 8, "<H", 0), END, 10, "<H", 0), "directory|member|follow|no"),
    "of_several_disks": (at(GOOD, END, 4, "<H", 3), "several"),
    "whose_directory_is_elsewhere": (at(GOOD, END, 16, "<I", 3), "directory|no format"),
    "whose_members_overlap": (doubled(), "overlap|inside|twice|lies|share|same"),
    "that_is_a_bomb": (bomb(), "would become|times the file"),
    "with_a_path": (GOOD.replace(b"archive/version", b"../././/version"), "name|path|outside|folder"),
    "with_an_absolute_path": (GOOD.replace(b"archive/version", b"/rchive/version"), "name|path|outside|folder"),
    "of_a_program": (archive(pickle(b"}"), ("code/__torch__.py", b"import os"), ("constants.pkl", b"")), "TorchScript"),
    "without_a_pickle": (GOOD.replace(b"data.pkl", b"data.pk1"), "no data.pkl|no format"),
    "in_an_archive": (archive(GOOD), "opcode|protocol|no|mid-pickle"),
    "of_another_byte_order": (archive(pickle(entry(tensor())), ("byteorder", b"middle")), "byte order"),
    "with_a_byte_order_of_gigabytes": (archive(pickle(entry(tensor())), ("byteorder", b"little" * 9)), "at most 16"),
}, "zip bombs, overlapping members, wrong CRC: Keras #23010, #23101, #23303; torch.load does not look at CRCs", bytes,
    ".pt",
    "FormatError|UnsafeFileError")  # fmt: skip

# -- the old container and other files -----------------------------------------------------------------------------

many("pytorch", "old", {
    "of_another_number": (pickle(integer(7)) + pickle(integer(1001)), "no checkpoint of PyTorch"),
    "of_another_protocol": (pickle(integer(0x1950A86A20F9469CFC6C)) + pickle(integer(1002)), "protocol 1002"),
    "cut_after_its_number": (pickle(integer(0x1950A86A20F9469CFC6C)), "mid-pickle|ends"),
    "without_storages": (old(entry(tensor()), b""), "mid-pickle|ends|nothing"),
    "with_keys_of_numbers": (old(entry(tensor()), pickle(b"](K\x00e")), "no list of keys"),
    "with_a_key_twice": (old(entry(tensor()), pickle(b"](" + 2 * text("0") + b"e")), "does not fit|twice"),
    "with_other_keys": (old(entry(tensor()), pickle(b"](" + text("9") + b"e")), "does not fit"),
    "with_another_count": (old(entry(tensor()), pickle(b"](" + text("0") + b"e") + struct.pack("<q", 17) + STORAGE),
        "17 elements"),
    "with_a_negative_count": (old(entry(tensor()), pickle(b"](" + text("0") + b"e") + struct.pack("<q", -1) +
        STORAGE), "-1 elements"),
    "with_fewer_bytes": (old(entry(tensor()))[:-1], "lies at bytes"),
    "with_more_bytes": (old(entry(tensor())) + b"PK", "2 bytes follow"),
    "with_a_view_beyond_its_storage": (old(entry(tensor())).replace(b"NtQ", b"(" + text("1") + b"K\x0fK\x09ttQ"),
        "elements 15 to 24"),
    "of_a_tar": (b"\0" * 257 + b"ustar" + b"\0" * 800, "tar archive"),
}, "CVE-2025-32434 was in the branch of the legacy container: every branch passes the same gate", bytes, ".pth",
    "FormatError|UnsafeFileError")  # fmt: skip


@case("pytorch", "regular|pipe", "a pipe would be waited for without end", "FileError")
def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "net.pt")
    return folder / "net.pt"
