"""Matrix products in tiles that a group keeps in local memory: the floor, which a backend's own kernels beat."""

from __future__ import annotations

from typing import Final

from mlcore.codegen.dialect import Dialect
from mlcore.codegen.functions import Functions
from mlcore.codegen.source import KernelSource
from mlcore.codegen.template import kernel, local, walker
from mlcore.dtypes import DType

WORDS: Final = (
    "batches", *walker("x1", "x2"), "rows", "columns", "inner", "stride_x1_row", "stride_x1_inner", "stride_x2_inner",
    "stride_x2_column", "offset_y",
)  # fmt: skip

_TILED = """
$local
const $int l = ($int)$local_id, r = l / $tile, c = l % $tile;
const $index down = ($w_rows + $tile - 1) / $tile, across = ($w_columns + $tile - 1) / $tile;
for ($index g = $group_id; g < $w_batches * down * across; g += $groups) {
    const $index batch = g / (down * across), t = g - batch * down * across;
    const $index row = t / across * $tile + r, column = t % across * $tile + c;
    $walk
    $C sum = 0;
    for ($index first = 0; first < $w_inner; first += $tile) {
        tile_1[l] = 0;
        tile_2[l] = 0;
        if (row < $w_rows && first + c < $w_inner) tile_1[l] = $load_1;
        if (column < $w_columns && first + r < $w_inner) tile_2[l] = $load_2;
        $barrier
        for ($int k = 0; k < $tile; ++k) sum = ($C)(sum + tile_1[r * $tile + k] * tile_2[k * $tile + c]);
        $barrier
    }
    if (row < $w_rows && column < $w_columns) {
        $store
    }
}
"""


def contract(dialect: Dialect, dtype: DType, form: str = "tiled") -> KernelSource:
    """x1 @ x2 over batches, any strides; two-byte floats are added up in float32, integers wrap around."""
    f, ctype, size = Functions(dialect), dialect.compute(dtype), dialect.tile * dialect.tile
    w = {name: f"w.v[{i}]" for i, name in enumerate(WORDS)}
    left = f"at_x1 + row * {w['stride_x1_row']} + (first + c) * {w['stride_x1_inner']}"
    right = f"at_x2 + (first + r) * {w['stride_x2_inner']} + column * {w['stride_x2_column']}"
    place = f"{w['offset_y']} + (batch * {w['rows']} + row) * {w['columns']} + column"
    return kernel(
        f, "contract", form, _TILED, inputs=[("x1", dtype), ("x2", dtype)], outputs=[("y", dtype)], words=WORDS,
        group=size, tile=dialect.tile, C=ctype, walks={"walk": ("batch", ["x1", "x2"], "rank_dim")},
        local=local(f, ctype, "tile_1", size) + "\n" + local(f, ctype, "tile_2", size),
        load_1=f.load(dtype, "x1", left), load_2=f.load(dtype, "x2", right), store=f.store(dtype, "y", place, "sum"),
    )  # fmt: skip
