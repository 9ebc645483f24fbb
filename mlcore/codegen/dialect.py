"""Dialect: what tells one C-like kernel language from another, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlcore.dtypes import DType, float32
from mlcore.errors import DTypeError


@dataclass(frozen=True, slots=True)
class Dialect:
    """A C-like kernel language. The templates of mlcore.codegen are written in C; this says what differs.

    `types` has the type of an element in memory for each dtype the language has; a dtype that is missing there has
    no kernels. Two-byte floats compute in float32: `load` and `store` say how they come and go, where the dialect
    has better ways than the portable ones on bits (then their type is that of 16 unsigned bits).

    >>> toy = Dialect("toy", {"float32": "float", "int64": "long"}, launch="kernel {name}({params}) {{{body}}}",
    ...     buffer="{const}{type}* {name}", words="{type} {name}", global_id="id()", global_size="size()")
    >>> toy.has("float32"), toy.has("float64"), toy.index
    (True, False, 'long')
    """

    name: str
    types: Mapping[str, str]
    launch: str  # how a kernel is defined: {name}, {params}, {body}, {group}
    buffer: str  # a parameter that is an array: {const} ("const " or ""), {type}, {name}, {i} its place
    words: str  # the last parameter, a struct by value: {type}, {name}, {i}
    global_id: str  # of a work-item in the whole launch, along the one dimension there is
    global_size: str  # work-items in the launch
    local_id: str = ""  # of a work-item in its group
    group_id: str = ""
    groups: str = ""  # groups in the launch
    barrier: str = (
        ""  # a statement: every work-item of the group gets here, and sees what the others wrote locally
    )
    local: str = "{type} {name}[{size}];"  # declares memory of the group
    group_launch: str = ""  # `launch` of a kernel whose groups work together; empty: the same
    function: str = "static inline {text}"  # how a function that kernels call is defined
    pointer: str = (
        "{const}{type}* {name}"  # a parameter of such a function, or a variable, that points to elements
    )
    functions: Mapping[str, str] = field(default_factory=dict)
    """The dialect's names of the C functions that it spells otherwise: {"exp": "native_exp"}; also for one type of
    the computation only: {"exp:float": "expf"}."""
    library: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Functions that it lacks, or does badly, in the form of mlcore.codegen.functions.LIBRARY."""
    load: Mapping[str, str] = field(default_factory=dict)
    """For a dtype: the value of an element, from {p} the array and {i} the index."""
    store: Mapping[str, str] = field(default_factory=dict)
    """For a dtype: the statement that stores {v}."""
    extensions: Mapping[str, str] = field(default_factory=dict)
    """For a dtype: what a source that uses it needs in its first lines."""
    as_bits: Mapping[str, str] = field(default_factory=dict)
    """{v} of float32 (float64) as 32 (64) unsigned bits, and under "uint32" ("uint64") the way back."""
    wide: str = "L"  # the suffix of a 64-bit integer literal
    prelude: str = ""  # first lines of every source
    group_prelude: str = ""  # and of one with a kernel whose groups work together
    suffix: str = ""  # of a source's file: ".cl"
    group: int = 256  # work-items of a group where they work together: a power of two
    tile: int = 16  # side of the tiles of a matrix product; tile * tile work-items are a group

    def has(self, dtype: DType | str) -> bool:
        """Whether the language has a dtype."""
        return str(dtype) in self.types

    @property
    def index(self) -> str:
        """The type of indices: int64."""
        return self.types["int64"]

    def memory(self, dtype: DType) -> str:
        """The type of an element in memory."""
        found = self.types.get(dtype.name)
        if found is None:
            raise DTypeError(
                f"{self.name} has no {dtype}", known=", ".join(self.types), fix="astype one of those"
            )
        return found

    def compute(self, dtype: DType) -> str:
        """The type that values of a dtype are computed in: that of memory, but float32 for two-byte floats."""
        return self.memory(float32 if dtype.kind == "f" and dtype.itemsize == 2 else dtype)
