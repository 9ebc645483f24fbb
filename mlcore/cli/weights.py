"""``mlcore weights show|convert|diff``: what is in a file of weights of any format, other formats, differences."""

from __future__ import annotations

import argparse
import fnmatch
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcore.cli.output import aligned, print_json, print_pairs

if TYPE_CHECKING:
    from mlcore.io.opened import Array, Weights

_LONG = 60  # characters of a metadata value that are shown


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "weights", help="show, convert and compare files of weights", description=__doc__
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="names, dtypes, shapes and metadata; no tensor is read")
    show.add_argument("file", help="a file or folder of any format that mlcore.load knows")
    show.add_argument("--only", metavar="PATTERN", default="*", help="names such as '*.weight'")
    show.add_argument(
        "--stats", action="store_true", help="read the tensors: least, greatest, mean, not finite"
    )
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=run_show)
    convert = actions.add_parser("convert", help="write the tensors in another format, one at a time")
    convert.add_argument("file", help="what to read")
    convert.add_argument("to", help="where to; its suffix chooses the format")
    convert.add_argument("--format", help="the format to write, whatever the suffix")
    convert.add_argument("--dtype", help="cast tensors of floating dtypes, e.g. to float16")
    convert.add_argument("--key", help="only this part of a nested checkpoint, e.g. model")
    convert.add_argument("--rename", metavar="OLD=NEW", action="append", default=[],
                         help="the beginning of names, e.g. bert=encoder; again for more")  # fmt: skip
    convert.add_argument(
        "--max-shard-size", metavar="SIZE", help="write a folder of files of at most, e.g., 5GB"
    )
    convert.set_defaults(run=run_convert)
    diff = actions.add_parser("diff", help="compare two files; exit status 1 if they differ")
    diff.add_argument("file")
    diff.add_argument("other")
    diff.add_argument("--rtol", type=float, default=0.0, help="relative difference that counts as equal")
    diff.add_argument("--atol", type=float, default=0.0, help="absolute difference that counts as equal")
    diff.set_defaults(run=run_diff)
    parser.set_defaults(run=run_show)


def run_show(arguments: argparse.Namespace) -> int:
    from mlcore.io import open_weights

    with open_weights(arguments.file) as weights:
        names = fnmatch.filter(weights, arguments.only)
        stats = {name: _stats(weights.view(name)) for name in names} if arguments.stats else {}
        if arguments.json:
            tensors = [{**asdict(weights.info(name)), **stats.get(name, {})} for name in names]
            print_json({"format": weights.format, "metadata": weights.metadata, "tensors": tensors})
            return 0
        print(_summary(weights))
        rows = [(f"  {key}", _brief(value)) for key, value in weights.metadata.items()]
        if rows:
            print("\nmetadata")
            print_pairs(rows)
        print()
        head = (
            "tensor",
            "dtype",
            "shape",
            "bytes",
            *(("least", "greatest", "mean", "not finite") if stats else ()),
        )
        print(aligned([head, *(_row(weights, name, stats.get(name, {})) for name in names)]))
        if len(names) < len(weights):
            print(f"\n{len(names)} of {len(weights)} tensors match {arguments.only!r}")
    return 0


def _summary(weights: Weights) -> str:
    infos = list(weights.infos.values())
    elements = sum(math.prod(info.shape) for info in infos)
    kinds = Counter[str]()
    for info in infos:
        kinds[_dtype(info)] += math.prod(info.shape)
    by_kind = ", ".join(f"{kind} {count / max(elements, 1):.0%}" for kind, count in kinds.most_common(4))
    size = sum(info.nbytes for info in infos)
    return f"{weights.path}: {weights.format}, {len(infos)} tensors, {elements:,} elements ({by_kind}), {size:,} bytes"


def _dtype(info: Any) -> str:
    """How a dtype is shown: what it is read as, and what is stored where that is something else, as in GGUF."""
    packed = info.nbytes * 8 < math.prod(info.shape) * 8 * _itemsize(info.dtype)
    return f"{info.stored}" if packed and info.stored else str(info.dtype)


def _itemsize(name: str) -> int:
    import ml_dtypes
    import numpy as np

    try:
        return np.dtype(getattr(ml_dtypes, name, name)).itemsize
    except TypeError:
        return 0


def _row(weights: Weights, name: str, stats: dict[str, float]) -> tuple[str, ...]:
    info = weights.info(name)
    numbers = [f"{value:.6g}" for value in stats.values()]
    return name, _dtype(info), str(tuple(info.shape)), f"{info.nbytes:,}", *numbers


def _brief(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _LONG else f"{text[:_LONG]}... ({len(text):,} characters)"


def _stats(array: Array) -> dict[str, float]:
    import numpy as np

    values = _wide(array).ravel()
    if values.dtype.kind == "c":
        values = np.abs(values)
    fine = values[np.isfinite(values)]
    if not fine.size:
        return {"least": math.nan, "greatest": math.nan, "mean": math.nan, "not_finite": values.size}
    found = {
        "least": fine.min(),
        "greatest": fine.max(),
        "mean": fine.mean(),
        "not_finite": values.size - fine.size,
    }
    return {name: float(value) for name, value in found.items()}


def run_convert(arguments: argparse.Namespace) -> int:
    from mlcore import dtypes, io
    from mlcore.io import formats, into_module, selection

    dtype = None if arguments.dtype is None else dtypes.as_dtype(arguments.dtype)
    table = dict(pair.partition("=")[::2] for pair in arguments.rename)
    with io.open_weights(arguments.file) as weights:
        names = into_module.renamed(
            into_module.part_of(weights, arguments.key), into_module.renaming(table or None)
        )
        wanted = selection.Selection(weights, names, dtype)
        name = arguments.format or ("folder" if arguments.max_shard_size else None)
        target = formats.for_writing(Path(arguments.to), name)
        options: dict[str, Any] = (
            {"max_shard_size": arguments.max_shard_size} if arguments.max_shard_size else {}
        )
        notes = dict(weights.metadata)
        config = notes.pop("config", None)
        if target.name == "folder" and isinstance(config, dict):
            options["config"] = config
        text = notes if target.name == weights.format else selection.plain_text(notes)
        io.save(wanted, arguments.to, text if target.metadata else None, format=target.name, **options)
        left_out = len(weights) - len(names)
    print(
        f"{arguments.to}: {target.name}, {len(names)} tensors"
        + (f", {left_out} left out" if left_out else "")
    )
    return 0


def run_diff(arguments: argparse.Namespace) -> int:
    from mlcore.io import open_weights

    with open_weights(arguments.file) as one, open_weights(arguments.other) as other:
        rows = list(_differences(one, other, arguments.rtol, arguments.atol))
        shared = len(one.infos.keys() & other.infos.keys())
    if rows:
        print(aligned([("tensor", "difference"), *rows]))
        print()
    equal = shared - sum(not kind.startswith("only") for _, kind in rows)
    print(f"{equal} tensors are equal, {len(rows)} differ")
    return 1 if rows else 0


def _differences(one: Weights, other: Weights, rtol: float, atol: float) -> Iterator[tuple[str, str]]:
    for name in one:
        if name not in other:
            yield name, f"only in {one.path}"
            continue
        a, b = one.info(name), other.info(name)
        if a.shape != b.shape:
            yield name, f"shape {a.shape} and {b.shape}"
        elif text := _values(one.view(name), other.view(name), rtol, atol):
            yield name, text
    for name in other:
        if name not in one:
            yield name, f"only in {other.path}"


def _values(a: Array, b: Array, rtol: float, atol: float) -> str:
    """How two arrays of one shape differ; '' where they do not."""
    import numpy as np

    kinds = f"{a.dtype} and {b.dtype}; " if a.dtype != b.dtype else ""
    if not kinds and a.tobytes() == b.tobytes():
        return ""
    wide_a, wide_b = _wide(a), _wide(b)
    with np.errstate(all="ignore"):
        unequal = ~np.isclose(wide_a, wide_b, rtol=rtol, atol=atol, equal_nan=True)
        count = int(unequal.sum())
        if not count:
            return kinds.rstrip("; ") if kinds and not (rtol or atol) else ""
        greatest = np.abs(wide_a - wide_b)[unequal].max()
    return f"{kinds}{count:,} of {a.size:,} values, by up to {greatest:.6g}"


def _wide(array: Array) -> Array:
    """Values in a dtype that NumPy computes in."""
    import numpy as np

    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
