"""KernelSource: one generated kernel, and what a launch of it needs to know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mlcore.codegen.dialect import Dialect
from mlcore.dtypes import DType

WORDS = "w"  # the kernels' name of their last parameter


@dataclass(frozen=True, slots=True)
class KernelSource:
    """A kernel as text.

    The function `name` takes the arrays in `arrays`, inputs first, then outputs, and after them one struct by value
    of ``len(words)`` 64-bit signed integers. A `group` other than 0 means: launch groups of exactly that many
    work-items, as many groups as the planner says. With 0 any number of work-items in any groups will do, since each
    takes element after element.
    """

    name: str
    op: str
    form: str
    dtypes: tuple[str, ...]  # of the arrays
    arrays: tuple[str, ...]
    words: tuple[str, ...]
    group: int
    body: str = field(repr=False)
    parts: tuple[tuple[str, str], ...] = field(repr=False)  # (name, text) of what the body calls, in order
    dialect: Dialect = field(repr=False)

    @property
    def text(self) -> str:
        """The complete source, for the dialect's compiler."""
        return combined([self])

    def line(self, number: int) -> str:
        """Line `number`, from 1, of the text: what a compiler's message means."""
        lines = self.text.splitlines()
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def combined(sources: Iterable[KernelSource]) -> str:
    """Several kernels of one dialect in one source; what they share stands there once."""
    sources = list(sources)
    dialect = sources[0].dialect
    parts: dict[str, str] = {}
    for source in sources:
        for name, text in source.parts:
            parts.setdefault(name, text)
    first = [text for name, text in parts.items() if name.startswith("#")]
    rest = [text for name, text in parts.items() if not name.startswith("#")]
    prelude = [dialect.prelude] if dialect.prelude else []
    if dialect.group_prelude and any(source.group for source in sources):
        prelude.append(dialect.group_prelude)
    return "\n".join([*first, *prelude, *rest, *(source.body for source in sources)]) + "\n"


def build(
    dialect: Dialect,
    *,
    op: str,
    form: str,
    inputs: Iterable[tuple[str, DType]],
    outputs: Iterable[tuple[str, DType]],
    words: tuple[str, ...],
    body: str,
    parts: Iterable[tuple[str, str]],
    group: int = 0,
    tag: str = "",
) -> KernelSource:
    """Put a kernel together from its body; the name says the operation, the dtypes and the form."""
    inputs, outputs = list(inputs), list(outputs)
    arrays = [*inputs, *outputs]
    kinds = dict.fromkeys(dtype.name for _, dtype in arrays)
    name = "_".join(["ml", op, *kinds, *([tag] if tag else []), form])
    struct = f"Words{len(words)}"
    params = [
        dialect.buffer.format(
            const="const " if i < len(inputs) else "", type=dialect.memory(dtype), name=array, i=i
        )
        for i, (array, dtype) in enumerate(arrays)
    ]
    params.append(dialect.words.format(type=struct, name=WORDS, i=len(arrays)))
    launch = dialect.group_launch or dialect.launch if group else dialect.launch
    text = launch.format(
        name=name,
        params=", ".join(params),
        arguments=", ".join([*(array for array, _ in arrays), WORDS]),
        body=body.rstrip(),
        group=group,
    )
    declared = f"typedef struct {{ {dialect.index} v[{len(words)}]; }} {struct};"
    first = [(f"#{kind}", dialect.extensions[kind]) for kind in kinds if kind in dialect.extensions]
    return KernelSource(
        name, op, form, tuple(d.name for _, d in arrays), tuple(a for a, _ in arrays), words, group, text,
        (*first, *dict(parts).items(), (struct, declared)), dialect,
    )  # fmt: skip
