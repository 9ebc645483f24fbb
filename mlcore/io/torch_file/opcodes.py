"""What each opcode of a pickle does: protocols 1 to 5 of Python's `pickletools`.

Not there: opcodes that fetch something from the process that reads (extension registry, out-of-band buffers), that name
a persistent object in text, or that make an instance of a class.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mlcore.io.torch_file.machine import Reader

STOP: Final = 0x2E
MAX_INT: Final = 1024  # bytes of an integer
CONTAINER: Final = 64  # bytes that a container of one opcode takes
_LOOSE: Final = 100  # bytes of a memo entry that does not follow the last one

Handler = Callable[["Reader"], None]


class Symbol:
    """What a GLOBAL opcode leaves on the stack: a name off the list of allowed ones, and nothing that can be called."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


def _unknown(reader: Reader) -> None:
    reader.fail(
        f"opcode 0x{reader.data[reader.begun]:02x} is none that a checkpoint has",
        cause="the file is damaged, or its pickle is to be run and not read",
    )


TABLE: Final[list[Handler]] = [_unknown] * 256
NAMES: Final[dict[int, str]] = {STOP: "STOP"}


def opcode(code: int, name: str) -> Callable[[Handler], Handler]:
    """Declare what an opcode does."""

    def declare(handler: Handler) -> Handler:
        TABLE[code] = handler
        NAMES[code] = name
        return handler

    return declare


def _constant(code: int, name: str, value: Any) -> None:
    @opcode(code, name)
    def push(reader: Reader) -> None:
        reader.stack.append(value)


for _code, _name, _value in (
    (0x4E, "NONE", None), (0x88, "NEWTRUE", True), (0x89, "NEWFALSE", False), (0x29, "EMPTY_TUPLE", ()),
):  # fmt: skip
    _constant(_code, _name, _value)


def _empty(code: int, name: str, make: Callable[[], Any], size: int) -> None:
    @opcode(code, name)
    def push(reader: Reader) -> None:
        reader.spend(size)
        reader.stack.append(make())


_empty(0x5D, "EMPTY_LIST", list, CONTAINER)
_empty(0x7D, "EMPTY_DICT", dict, CONTAINER)
_empty(0x8F, "EMPTY_SET", set, 4 * CONTAINER)


# ---------------------------------------------------------------- numbers and text


def _number(code: int, name: str, layout: str) -> None:
    read = struct.Struct(layout)

    @opcode(code, name)
    def push(reader: Reader) -> None:
        reader.stack.append(read.unpack_from(reader.data, reader.at)[0])
        reader.at += read.size


_number(0x4A, "BININT", "<i")
_number(0x4D, "BININT2", "<H")
_number(0x47, "BINFLOAT", ">d")


@opcode(0x4B, "BININT1")
def _binint1(reader: Reader) -> None:
    reader.stack.append(reader.data[reader.at])
    reader.at += 1


def _integer(reader: Reader, size: int) -> None:
    if size > MAX_INT:
        reader.fail(f"an integer of {size} bytes", cause=f"a checkpoint's have at most {MAX_INT}")
    reader.stack.append(int.from_bytes(reader.take(size), "little", signed=True))


@opcode(0x8A, "LONG1")
def _long1(reader: Reader) -> None:
    _integer(reader, _length(reader, 1))


@opcode(0x8B, "LONG4")
def _long4(reader: Reader) -> None:
    _integer(reader, _length(reader, 4))


@opcode(0x49, "INT")
def _int(reader: Reader) -> None:
    text = reader.line()
    reader.stack.append(
        text == b"01" if text in (b"00", b"01") else _decimal(text)
    )  # so are truth values written


@opcode(0x4C, "LONG")
def _long(reader: Reader) -> None:
    reader.stack.append(_decimal(reader.line().removesuffix(b"L")))


def _decimal(text: bytes) -> int:
    if len(text) > MAX_INT:
        raise ValueError("an integer of too many digits")
    return int(text)


@opcode(0x46, "FLOAT")
def _float(reader: Reader) -> None:
    reader.stack.append(float(reader.line()))


_LENGTHS: Final = {1: struct.Struct("<B"), 4: struct.Struct("<I"), 8: struct.Struct("<Q")}


def _length(reader: Reader, size: int) -> int:
    at = reader.at
    reader.at = at + size
    return int(_LENGTHS[size].unpack_from(reader.data, at)[0])


def _sized(code: int, name: str, size: int, make: Callable[[bytes], Any]) -> None:
    @opcode(code, name)
    def push(reader: Reader) -> None:
        reader.spend(CONTAINER)
        reader.stack.append(make(reader.take(_length(reader, size))))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _python2(raw: bytes) -> str | bytes:
    """Python 2's str, which was text as a rule."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


for _code, _name, _size, _make in (
    (0x58, "BINUNICODE", 4, _text), (0x8C, "SHORT_BINUNICODE", 1, _text), (0x8D, "BINUNICODE8", 8, _text),
    (0x55, "SHORT_BINSTRING", 1, _python2), (0x54, "BINSTRING", 4, _python2),
    (0x43, "SHORT_BINBYTES", 1, bytes), (0x42, "BINBYTES", 4, bytes), (0x8E, "BINBYTES8", 8, bytes),
    (0x96, "BYTEARRAY8", 8, bytearray),
):  # fmt: skip
    _sized(_code, _name, _size, _make)


# ---------------------------------------------------------------- containers


@opcode(0x28, "MARK")
def _mark(reader: Reader) -> None:
    reader.marks.append(len(reader.stack))


@opcode(0x74, "TUPLE")
def _tuple(reader: Reader) -> None:
    reader.spend(CONTAINER)
    reader.stack.append(tuple(reader.since_mark()))


def _short_tuple(code: int, count: int) -> None:
    @opcode(code, f"TUPLE{count}")
    def push(reader: Reader) -> None:
        stack = reader.stack
        if len(stack) < count:
            raise IndexError
        reader.spend(CONTAINER)
        stack[-count:] = [tuple(stack[-count:])]


for _count in (1, 2, 3):
    _short_tuple(0x84 + _count, _count)


@opcode(0x6C, "LIST")
def _list(reader: Reader) -> None:
    reader.spend(CONTAINER)
    reader.stack.append(reader.since_mark())


@opcode(0x64, "DICT")
def _dict(reader: Reader) -> None:
    reader.spend(CONTAINER)
    items = reader.since_mark()
    reader.stack.append({})
    _put(reader, items)


@opcode(0x61, "APPEND")
def _append(reader: Reader) -> None:
    item = reader.stack.pop()
    _extend(reader, [item])


@opcode(0x65, "APPENDS")
def _appends(reader: Reader) -> None:
    _extend(reader, reader.since_mark())


def _extend(reader: Reader, items: list[Any]) -> None:
    target = reader.stack[-1]
    if type(target) is not list:
        reader.fail(f"it appends to a {type(target).__name__}")
    target.extend(items)


@opcode(0x73, "SETITEM")
def _setitem(reader: Reader) -> None:
    value = reader.stack.pop()
    _put(reader, [reader.stack.pop(), value])


@opcode(0x75, "SETITEMS")
def _setitems(reader: Reader) -> None:
    _put(reader, reader.since_mark())


def _put(reader: Reader, items: list[Any]) -> None:
    target = reader.stack[-1]
    if type(target) is not dict:
        reader.fail(f"it sets the items of a {type(target).__name__}")
    if len(items) % 2:
        reader.fail("a key has no value")
    put(reader, target, zip(items[::2], items[1::2]), len(items) // 2)


def put(reader: Reader, target: dict[Any, Any], pairs: Any, count: int) -> None:
    """Put `count` pairs into a dictionary, whose keys are plain and all different."""
    before = len(target)
    for key, value in pairs:
        target[key if type(key) is str else reader.key(key)] = value
    if len(target) != before + count:
        reader.fail("a key stands twice in a dictionary")


@opcode(0x90, "ADDITEMS")
def _additems(reader: Reader) -> None:
    items = reader.since_mark()
    target = reader.stack[-1]
    if type(target) is not set:
        reader.fail(f"it adds members to a {type(target).__name__}")
    target.update(map(reader.key, items))


@opcode(0x91, "FROZENSET")
def _frozenset(reader: Reader) -> None:
    reader.spend(4 * CONTAINER)
    reader.stack.append(frozenset(map(reader.key, reader.since_mark())))


# ---------------------------------------------------------------- the stack and the memo


@opcode(0x30, "POP")
def _pop(reader: Reader) -> None:
    if reader.marks and reader.marks[-1] == len(reader.stack):
        reader.marks.pop()
    else:
        reader.stack.pop()


@opcode(0x31, "POP_MARK")
def _pop_mark(reader: Reader) -> None:
    reader.since_mark()


@opcode(0x32, "DUP")
def _dup(reader: Reader) -> None:
    reader.stack.append(reader.stack[-1])


def _remember(reader: Reader, place: int) -> None:
    """Keep what is on top. Writers number what they keep, so a list does; anything else is kept, but counted."""
    memo = reader.memo
    if place == len(memo):
        memo.append(reader.stack[-1])
    elif place < len(memo):
        memo[place] = reader.stack[-1]
    else:
        reader.spend(_LOOSE)
        reader.loose[place] = reader.stack[-1]


def _recall(reader: Reader, place: int) -> None:
    memo = reader.memo
    reader.stack.append(memo[place] if place < len(memo) else reader.loose[place])


@opcode(0x71, "BINPUT")
def _binput(reader: Reader) -> None:
    place, memo = reader.data[reader.at], reader.memo
    reader.at += 1
    if place == len(memo):
        memo.append(reader.stack[-1])
    else:
        _remember(reader, place)


@opcode(0x72, "LONG_BINPUT")
def _long_binput(reader: Reader) -> None:
    _remember(reader, _length(reader, 4))


@opcode(0x94, "MEMOIZE")
def _memoize(reader: Reader) -> None:
    reader.memo.append(reader.stack[-1])


@opcode(0x68, "BINGET")
def _binget(reader: Reader) -> None:
    _recall(reader, reader.data[reader.at])
    reader.at += 1


@opcode(0x6A, "LONG_BINGET")
def _long_binget(reader: Reader) -> None:
    _recall(reader, _length(reader, 4))


# ---------------------------------------------------------------- globals: names, and what is put in their place


@opcode(0x63, "GLOBAL")
def _global(reader: Reader) -> None:
    module = reader.line().decode("utf-8", "replace")
    reader.stack.append(reader.symbol(module, reader.line().decode("utf-8", "replace")))


@opcode(0x93, "STACK_GLOBAL")
def _stack_global(reader: Reader) -> None:
    name, module = reader.stack.pop(), reader.stack.pop()
    if type(name) is not str or type(module) is not str:
        reader.fail("a global has no name")
    reader.stack.append(reader.symbol(module, name))


@opcode(0x52, "REDUCE")
def _reduce(reader: Reader) -> None:
    arguments = reader.stack.pop()
    reader.stack[-1] = reader.rebuild(reader.stack[-1], arguments)


@opcode(0x81, "NEWOBJ")
def _newobj(reader: Reader) -> None:
    _reduce(reader)


@opcode(0x62, "BUILD")
def _build(reader: Reader) -> None:
    state = reader.stack.pop()
    reader.set_state(reader.stack[-1], state)


@opcode(0x51, "BINPERSID")
def _binpersid(reader: Reader) -> None:
    reader.stack[-1] = reader.persistent(reader, reader.stack[-1])


# ---------------------------------------------------------------- what surrounds a pickle


@opcode(0x80, "PROTO")
def _proto(reader: Reader) -> None:
    version = reader.take(1)[0]
    if version > 5:
        reader.fail(f"it is of pickle protocol {version}", cause="protocols up to 5 are known")


@opcode(0x95, "FRAME")
def _frame(reader: Reader) -> None:
    size = _length(reader, 8)
    if size > len(reader.data) - reader.at:
        reader.fail(f"it is truncated: a frame of {size} bytes, {len(reader.data) - reader.at} are left")
