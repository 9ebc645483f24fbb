"""The generated table is what the declarations say, and a new operation gets a kernel from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlcore.ops.registry import all_ops
from mlcore_cpu import generate
from mlcore_cpu.loader import kernels as K

# The sources of the tree: an installed package has none.
TABLE = Path(__file__).resolve().parents[1] / "src" / "mlcore_cpu" / "csrc" / generate.TARGET.name


def test_the_committed_table_is_fresh() -> None:
    assert TABLE.read_text() == generate.render(), "run: make generate"


def test_every_scalar_operation_has_a_kernel_for_all_its_real_dtypes() -> None:
    missing = []
    for op in all_ops():
        if op.c is None or op.family not in ("unary", "binary", "reduction"):
            continue
        made: Any = {"unary": K.Unary, "binary": K.Binary, "reduction": K.Reduction}[op.family](
            op.name, op.name, None
        )
        codes = set(made.codes())
        missing += [f"{op.name}:{d}" for d in op.accepts if d.kind != "c" and d.index not in codes]
    assert not missing


def test_a_new_operation_becomes_lines_of_the_table() -> None:
    from mlcore import dtypes

    class Softsign:
        name, family, c, accepts = "softsign", "unary", "x / (1 + fabs(x))", dtypes.floating
        result = dtypes.all_dtypes

    assert list(generate._lines_of(Softsign)) == [
        "MLCORE_UNARY(softsign, FLOAT, SAME, unary, x / (1 + fabs(x)))"
    ]
    Softsign.c = "sin(x)"
    assert "trig" in next(generate._lines_of(Softsign))


def test_reductions_start_from_the_declared_value() -> None:
    assert K.Reduction("max", "max", None)(np.zeros((2, 0), "f"), (1,), False).tolist() == [-np.inf, -np.inf]
