"""`summary`: what a network's layers give, hold and cost, worked out from shapes without computing anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from mlcore.compile.shape_only import inputs_like, shape_only, twin_of, watched
from mlcore.errors import ArgumentTypeError, render
from mlcore.nn.module import Module
from mlcore.shapes import Shape
from mlcore.tensor import TensorBase

Shapes = tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One call of one layer. Parameters, FLOPs and bytes are its own: those of the layers below have their own rows.

    `parameters` are counted at a layer's first call (a layer may be called again), and so are those that lie in
    modules which nobody called. One multiplication with its addition are two FLOPs.
    """

    path: str
    kind: str
    depth: int
    inputs: Shapes
    outputs: Shapes
    parameters: int
    trainable: int
    parameter_bytes: int
    output_bytes: int
    flops: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What `summary` returns: `rows` in the order of calling, and totals. As text, it is a table.

    `trouble` is the error that ended the run early, for `mlcore check`; None everywhere else.
    """

    name: str
    rows: tuple[Row, ...]
    input_bytes: int
    buffer_bytes: int
    trouble: Exception | None = None

    def _total(self, name: str) -> int:
        return sum(getattr(row, name) for row in self.rows)

    @property
    def parameters(self) -> int:
        """How many numbers the parameters hold, each counted once."""
        return self._total("parameters")

    @property
    def trainable(self) -> int:
        """Those of them that require a gradient."""
        return self._total("trainable")

    @property
    def parameter_bytes(self) -> int:
        """Bytes of the parameters."""
        return self._total("parameter_bytes")

    @property
    def flops(self) -> int:
        """Floating-point operations of one forward pass."""
        return self._total("flops")

    @property
    def output_bytes(self) -> int:
        """Bytes of the outputs of all layers that call no other: about what training keeps for the backward pass."""
        return sum(row.output_bytes for row in self._innermost())

    def _innermost(self) -> Iterator[Row]:
        for i, row in enumerate(self.rows):
            if i + 1 == len(self.rows) or self.rows[i + 1].depth <= row.depth:
                yield row

    def to_dict(self) -> dict[str, Any]:
        """Rows and totals as plain values, for JSON."""
        totals = (
            "parameters",
            "trainable",
            "parameter_bytes",
            "buffer_bytes",
            "input_bytes",
            "output_bytes",
            "flops",
        )
        return {
            "name": self.name,
            "layers": [asdict(row) for row in self.rows],
            **{name: getattr(self, name) for name in totals},
            "error": None if self.trouble is None else str(self.trouble),
        }

    def __str__(self) -> str:
        lines = [("layer", "type", "output", "parameters", "bytes", "FLOPs")]
        above: list[str] = []  # the paths of the rows that the next one may stand below
        for row in self.rows:
            del above[row.depth :]
            outer = above[-1] + "." if above and above[-1] else ""
            above.append(row.path)
            name = row.path.removeprefix(outer) or self.name
            ended = self.trouble is not None and row is self.rows[-1]
            outputs = " ".join(map(str, row.outputs)) or ("ends here" if ended else "-")
            cells = (
                short_count(row.parameters),
                short_bytes(row.parameter_bytes + row.output_bytes),
                short_count(row.flops),
            )
            lines.append(("  " * row.depth + name, row.kind, outputs, *cells))
        widths = [max(len(line[i]) for line in lines) for i in range(6)]
        text = [aligned(line, widths) for line in lines]
        text.insert(1, "-" * len(text[0]))
        return "\n".join([*text, text[1], *self._totals()])

    def __repr__(self) -> str:
        return str(self)

    def _totals(self) -> list[str]:
        fixed = self.parameters - self.trainable
        inside = {
            "parameters": f"{self.parameters:,}" + (f", {fixed:,} of them not trained" if fixed else ""),
            "memory": f"parameters {short_bytes(self.parameter_bytes)}, buffers {short_bytes(self.buffer_bytes)}, input"
            f" {short_bytes(self.input_bytes)}, layer outputs {short_bytes(self.output_bytes)}",
            "FLOPs": f"{short_count(self.flops)} for one forward pass",
        }
        return [line.strip() for line in render("", inside).split("\n")[1:]]


def aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    """A line of a table: the first three cells to the left, the numbers behind them to the right."""
    return "  ".join(
        one.rjust(width) if i > 2 else one.ljust(width)
        for i, (one, width) in enumerate(zip(cells, widths, strict=True))
    )


def short_count(value: int) -> str:
    """A count in at most five characters: 1234567 is 1.23M."""
    for size, name in ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**4, "k")):
        if value >= size:
            scaled = value / (10**3 if name == "k" else size)
            return f"{scaled:.3g}{name}" if scaled < 1000 else f"{scaled:.0f}{name}"
    return str(value) if value else "-"


def short_bytes(value: int) -> str:
    """Bytes in the largest unit that leaves a whole number before the point."""
    for size, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= size:
            return f"{value / size:.4g} {name}"
    return f"{value} B" if value else "-"


def _flat(given: Any) -> Iterator[Any]:
    if isinstance(given, TensorBase):
        yield given
    elif isinstance(given, dict):
        for one in given.values():
            yield from _flat(one)
    elif isinstance(given, (tuple, list)):
        for one in given:
            yield from _flat(one)
    elif hasattr(given, "__dataclass_fields__"):
        for name in given.__dataclass_fields__:
            yield from _flat(getattr(given, name))


class _Run:
    """Collects one row for each call, in the order in which the calls begin."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.rows: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []

    def before(self, path: str, module: Any, args: Any, kwargs: Any) -> None:
        row = {
            "path": path, "kind": type(module).__name__, "depth": len(self.open),
            "inputs": tuple(one.shape for one in _flat((args, kwargs))), "outputs": (), "parameters": 0,
            "trainable": 0, "parameter_bytes": 0, "output_bytes": 0, "flops": 0,
        }  # fmt: skip
        self.rows.append(row)
        self.open.append(row)

    def after(self, path: str, module: Any, result: Any) -> None:
        row = self.open.pop()
        made = list(_flat(result))
        row["kind"] = type(module).__name__  # a lazy layer has become another one
        row["outputs"] = tuple(one.shape for one in made)
        row["output_bytes"] = sum(one.nbytes for one in made)

    def count(self, flops: int) -> None:
        if self.open:
            self.open[-1]["flops"] += flops

    def hold_parameters(self) -> None:
        """Give each parameter to the first row of its module, or of the nearest one above that was called."""
        first: dict[str, dict[str, Any]] = {}
        for row in self.rows:
            first.setdefault(row["path"], row)
        for name, one in self.model.named_parameters():
            path = name.rpartition(".")[0]
            while path and path not in first:
                path = path.rpartition(".")[0]
            held = first.get(path)
            if held is not None:
                held["parameters"] += one.size
                held["trainable"] += one.size if one.requires_grad else 0
                held["parameter_bytes"] += one.nbytes


def trace(model: Module, args: Any, kwargs: Any, training: bool = False) -> Summary:
    """The summary of one call, as far as it went: an error is kept in `trouble`."""
    twin = twin_of(model).train(training)
    run = _Run(twin)
    trouble = None
    with shape_only(run.count), watched(twin, run.before, run.after):
        try:
            twin(*args, **kwargs)
        except Exception as error:
            trouble = error
    run.hold_parameters()
    given = sum(one.nbytes for one in _flat((args, kwargs)))
    buffers = sum(one.nbytes for one in twin.buffers())
    rows = tuple(Row(**row) for row in run.rows)
    return Summary(type(model).__name__, rows, given, buffers, trouble)


def summary(
    model: Module, input: Any = None, *, dtype: Any = None, training: bool = False, **kwargs: Any
) -> Summary:
    """What each layer gives, holds and costs, as a table; nothing is computed, and the model is not touched.

    `input` is a shape, a tensor whose shape and dtype count, or a list of these for several arguments; keyword
    arguments are given to `forward` in the same way. `dtype` is that of shapes (default: float32). The layers run on
    a copy without values, in evaluation mode unless `training`. A model that branches on values, or that does not
    fit the input, raises what it would raise, with the layer's path. FLOPs come from the operations' declarations:
    a product of matrices counts 2 for a multiplication with its addition, a scalar formula 1 an element.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> found = nn.summary(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), (3, 4))
    >>> found.parameters, found.flops, [row.outputs for row in found.rows]
    (58, 342, [((3, 2),), ((3, 8),), ((3, 8),), ((3, 2),)])
    >>> print(found)
    layer       type        output  parameters  bytes  FLOPs
    --------------------------------------------------------
    Sequential  Sequential  (3, 2)           -   24 B      -
      0         Linear      (3, 8)          40  256 B    216
      1         ReLU        (3, 8)           -   96 B     24
      2         Linear      (3, 2)          18   96 B    102
    --------------------------------------------------------
    parameters: 58
    memory:     parameters 232 B, buffers -, input 48 B, layer outputs 216 B
    FLOPs:      342 for one forward pass
    """
    if not isinstance(model, Module):
        raise ArgumentTypeError(f"summary: a {type(model).__name__} is not a Module", fix="pass a network")
    made = inputs_like(input, dtype)
    args = () if input is None else tuple(made) if isinstance(made, (list, tuple)) else (made,)
    found = trace(model, args, inputs_like(kwargs, dtype), training)
    if found.trouble is not None:
        raise found.trouble
    return found
