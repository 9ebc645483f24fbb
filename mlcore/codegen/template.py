"""Kernels as text over `$names`: the words of a launch by name, the dialect's own words, and what the caller adds."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from string import Template

from mlcore.codegen.elementwise import RANK, Named, quotient, walk
from mlcore.codegen.functions import Functions
from mlcore.codegen.source import WORDS, KernelSource, build


def walker(*arrays: str, dims: str = "dim") -> tuple[str, ...]:
    """The names of the words that `$walk_...` reads: rank, sizes, and offset and strides of each array."""
    return (
        f"rank_{dims}", *(f"{dims}_{d}" for d in range(RANK)),
        *(word for a in arrays for word in (f"offset_{a}", *(f"stride_{a}_{d}" for d in range(RANK)))),
    )  # fmt: skip


def kernel(
    f: Functions,
    op: str,
    form: str,
    text: str,
    *,
    inputs: list[Named],
    outputs: list[Named],
    words: tuple[str, ...],
    group: int = 0,
    tag: str = "",
    walks: Mapping[str, tuple[str, list[str], str]] | None = None,
    **more: object,
) -> KernelSource:
    """A kernel from its text.

    In it `$w_name` is a word of the launch, `$index` the type of indices, `$global_id` and the like the dialect's.
    `$loop_i(n)` opens a loop in which each work-item takes element after element. `walks` are (item, arrays, first
    word) for `$name`.
    """
    d = f.dialect
    names: dict[str, object] = {f"w_{word}": f"{WORDS}.v[{i}]" for i, word in enumerate(words)}
    names |= {
        "index": d.index, "int": d.types.get("int32", d.index), "u32": d.types["uint32"], "u64": d.types["uint64"],
        "global_id": d.global_id, "global_size": d.global_size, "local_id": d.local_id, "group_id": d.group_id,
        "groups": d.groups, "barrier": d.barrier, "group": group,
    }  # fmt: skip
    names |= more
    if "$quotient" in text:
        names["quotient"] = quotient(f)
    for name, (item, arrays, first) in (walks or {}).items():
        names[name] = "\n".join(walk(f, arrays, item, words.index(first)))
    text = re.sub(
        r"\$loop_(\w+)\(([^\n]*)\) \{", r"for ($index \1 = $global_id; \1 < \2; \1 += $global_size) {", text
    )
    body = _filled(textwrap.dedent(text).strip("\n"), names)
    return build(
        d, op=op, form=form, inputs=inputs, outputs=outputs, words=words, group=group, tag=tag, parts=f,
        body=textwrap.indent(body, "    "),
    )  # fmt: skip


def _filled(text: str, names: Mapping[str, object]) -> str:
    """The text with its names filled in; what has several lines keeps the indentation of its place."""
    lines = []
    for line in text.split("\n"):
        alone = re.fullmatch(r"( *)\$(\w+)", line)
        if alone and names[alone[2]] == "":
            continue
        if alone and "\n" in str(names[alone[2]]):
            lines += textwrap.indent(_filled(str(names[alone[2]]), names), alone[1]).split("\n")
        else:
            lines.append(Template(line).substitute(names))
    return "\n".join(lines)


def local(f: Functions, dtype_type: str, name: str, size: int) -> str:
    """The declaration of an array that the work-items of a group share."""
    return f.dialect.local.format(type=dtype_type, name=name, size=size)
