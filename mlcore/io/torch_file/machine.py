"""A reader of pickles that calls nothing: opcodes make plain data, and a global is a name and no more.

A pickle is a program for a stack. What REDUCE, NEWOBJ and BUILD mean for a global is looked up by its name in a table
of functions written for it (`globals.py`); nothing is imported, and no object of the file is ever called.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from mlcore.errors import MlcoreError, UnsafeFileError
from mlcore.io.source import Source
from mlcore.io.torch_file.opcodes import NAMES, STOP, TABLE, Symbol

SCALARS: Final = frozenset({str, int, bool, float, bytes, type(None), complex})
MAX_KEY: Final = 64  # items of a tuple that is a key
MAX_ODD_KEYS: Final = 2_000  # of a hash that a writer can choose: many of one take the square of their number

# What protocol 2 calls the modules that were renamed since Python 2, and by libraries since.
_MODULES: Final = {
    "__builtin__": "builtins",
    "torch.tensor": "torch._tensor",
    "numpy._core.multiarray": "numpy.core.multiarray",
}
_DEVICE: Final = re.compile(r"torch\.[a-z]{2,8}")


@dataclass(frozen=True, slots=True)
class Names:
    """The list of names: what applying one gives, what others stand for, and what may be set in our own types."""

    calls: Mapping[str, Callable[[Reader, tuple[Any, ...]], Any]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[type, Callable[[Reader, Any, Any], None]] = field(default_factory=dict)


class Reader:
    """Reads one pickle of `data`, which starts at byte `base` of the file.

    `names` is the list of names that it may use; `persistent` makes something of a persistent id. Memory is bounded:
    `room` bytes may be taken by what costs more than it takes in the file. Every problem is a `FormatError`, or an
    `UnsafeFileError` for a name off the list, with the file's offset.
    """

    def __init__(
        self,
        source: Source,
        data: bytes | mmap.mmap,
        base: int,
        names: Names,
        persistent: Callable[[Reader, Any], Any],
        at: int = 0,
    ) -> None:
        self.source, self.data, self.base, self.at = source, data, base, at
        self.names, self.persistent = names, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: list[Any] = []
        self.loose: dict[int, Any] = {}
        self.symbols: dict[str, Any] = {}
        self.room = (32 << 20) + 4 * source.size
        self.odd_keys = 0
        self.begun = at  # where the opcode at hand begins

    def read(self) -> Any:
        """The object that the pickle ends with; `at` is then the byte after it."""
        data, table = self.data, TABLE
        try:
            while True:
                self.begun = at = self.at
                code = data[at]
                self.at = at + 1
                if code == STOP:
                    break
                table[code](self)
        except MlcoreError:
            raise
        except (IndexError, struct.error) as error:
            what = "it ends in mid-pickle" if self.at >= len(data) - 8 else "an opcode has nothing to work on"
            self.fail(f"{what} ({type(error).__name__})")
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError, MemoryError) as error:
            self.fail(f"an opcode has a wrong operand ({type(error).__name__}: {str(error)[:80]})")
        if not self.stack:
            self.fail("its pickle ends with no object")
        if len(self.stack) > 1 or self.marks:
            self.fail(f"its pickle leaves {len(self.stack) - 1} objects over")
        return self.stack[0]

    def fail(self, problem: str, **details: Any) -> NoReturn:
        """Raise the error of this pickle at the opcode at hand."""
        self.source.fail(
            problem, offset=f"{self.base + self.begun} (opcode {_name(self.data, self.begun)})", **details
        )

    def spend(self, size: int) -> None:
        """Count memory that a few bytes of the file ask for."""
        self.room -= size
        if self.room < 0:
            self.fail(
                f"its pickle would take far more memory than the file's {self.source.size} bytes",
                cause="it was made to fill the memory, or is no checkpoint",
            )

    def take(self, size: int) -> bytes:
        """The next bytes of the pickle."""
        end = self.at + size
        if end > len(self.data):
            self.fail(f"it is truncated: {size} bytes were promised, {len(self.data) - self.at} are left")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def line(self) -> bytes:
        """The text up to the next line feed."""
        end = self.data.find(b"\n", self.at, self.at + 4096)
        if end < 0:
            self.fail("a line of text has no end")
        taken = self.data[self.at : end]
        self.at = end + 1
        return taken

    def since_mark(self) -> list[Any]:
        """The objects above the last mark, which leave the stack."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def symbol(self, module: str, name: str) -> Any:
        """What a global is: an inert symbol, or a plain value such as a dtype; both out of tables."""
        module = full = _MODULES.get(module, module)
        if name.endswith("Storage") and _DEVICE.fullmatch(module):  # old files have a device's own classes
            full = "torch"
        full = f"{full}.{name}"
        found = self.symbols.get(full)
        if found is None:
            if full in self.names.values:
                found = self.names.values[full]
            elif full in self.names.calls:
                found = Symbol(full)
            else:
                self.source.fail(
                    f"it names {f'{module}.{name}'[:200]!r}, which is not on the list of what may be read",
                    kind=UnsafeFileError,
                    offset=self.base + self.begun,
                    cause="a pickle can run any code; this reader calls nothing, and takes plain data and tensors only",
                    fix="in PyTorch, load it only if you trust it, and torch.save(model.state_dict(), ...) again",
                )
            self.symbols[full] = found
        return found

    def rebuild(self, what: Any, arguments: Any) -> Any:
        """What applying an allowed name to arguments gives, by our own function for it."""
        if type(what) is not Symbol or type(arguments) is not tuple:
            self.fail(f"it would call a {type(what).__name__} on a {type(arguments).__name__}")
        return self.names.calls[what.name](self, arguments)

    def set_state(self, target: Any, state: Any) -> None:
        """What BUILD does to an object, by our own function for its type."""
        change = self.names.states.get(type(target))
        if change is None:
            self.fail(f"it would set the state of a {type(target).__name__}")
        change(self, target, state)

    def key(self, key: Any) -> Any:
        """A dictionary's key or a set's member: plain, and cheap to hash."""
        kind = type(key)
        if kind is tuple or kind is complex:
            self.odd_keys += 1
            if self.odd_keys > MAX_ODD_KEYS:
                self.fail(f"more than {MAX_ODD_KEYS} tuples or complex numbers are keys")
        if kind in SCALARS:
            if kind is int and key.bit_length() > 64:
                self.fail("an integer of more than 64 bits is a key")
            return key
        if kind is tuple and len(key) <= MAX_KEY and all(map(_short, key)):
            return key
        if kind is Symbol or kind is list or kind is dict or kind is set or kind is tuple:
            self.fail(f"a {kind.__name__} is a key")
        return key  # one of the values off the table, such as a dtype


def _short(value: Any) -> bool:
    return type(value) in SCALARS and (type(value) not in (str, bytes) or len(value) <= 1000)


def _name(data: bytes | mmap.mmap, at: int) -> str:
    if at >= len(data):
        return "past the end"
    return f"0x{data[at]:02x}, {NAMES[data[at]]}" if data[at] in NAMES else f"0x{data[at]:02x}"
