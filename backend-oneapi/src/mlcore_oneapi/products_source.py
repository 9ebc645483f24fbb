"""OpenCL C of matrix products: packed panels for processors, tiles in local memory for graphics cards."""

from __future__ import annotations

from typing import Final

NUMBERS: Final = 36  # 64-bit words that every kernel of this package takes, by value
STRUCT: Final = f"typedef struct {{ long v[{NUMBERS}]; }} Numbers;\n"
ALONE: Final = "__kernel __attribute__((reqd_work_group_size(1, 1, 1)))"

# Words of a product: C (m, n) = sum over r, k of A[row, r, k] * B[r, k, column], for a grid of two batch dimensions;
# the last repeat has `tail` of k.
PRODUCT: Final = (
    "m", "n", "inner", "repeats", "a_at", "a_row", "a_inner", "a_repeat", "a_outer", "a_batch",
    "b_at", "b_panel", "b_inner", "b_repeat", "b_outer", "b_batch", "c_at", "c_row", "c_outer", "c_batch",
    "batches", "bias", "bias_at", "bias_step", "b_column", "tail",
)  # fmt: skip
NO_BIAS, COLUMN_BIAS, ROW_BIAS = 0, 1, 2

PACK: Final = (
    "n", "inner", "repeats", "b_at", "b_inner", "b_column", "b_repeat", "b_outer", "b_batch", "batches", "chunk",
    "chunks",
)  # fmt: skip


def header(double: bool) -> str:
    """What a source of this package begins with: the type T of its elements, and the words of a launch."""
    first = "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n" if double else ""
    return f"{first}#define T {'double' if double else 'float'}\n{STRUCT}"


def words(names: tuple[str, ...], indent: str = "  ") -> str:
    """The words of a launch as constants of the kernel."""
    return "\n".join(f"{indent}const long {name} = w.v[{i}];" for i, name in enumerate(names))


def panel_product(double: bool, rows: int, vectors: int = 2) -> str:
    """A work-item multiplies `rows` rows of A with one panel of B, whose columns lie side by side in vectors."""
    lanes = 8 if double else 16
    kind, width = f"{'double' if double else 'float'}{lanes}", lanes * vectors
    each = [(i, v) for i in range(rows) for v in range(vectors)]
    sums = "\n".join(f"  {kind} c{i}_{v} = 0;" for i, v in each)
    begin = "\n".join(
        f"    __global const T* a{i} = a + min(first + {i}, m - 1) * a_row;" for i in range(rows)
    )
    loads = "\n".join(f"      const {kind} b{v} = vload{lanes}({v}, b);" for v in range(vectors))
    fold = "\n".join(
        f"      {{ const {kind} s = a{i}[at]; "
        + " ".join(f"c{i}_{v} = fma(s, b{v}, c{i}_{v});" for v in range(vectors)) + " }"
        for i in range(rows)
    )  # fmt: skip
    extra = "\n".join(
        f"    const {kind} e{v} = bias == 1 ? several({v}, extra, bias_step) : ({kind})0;"
        for v in range(vectors)
    )
    whole = "\n".join(
        f"    if (first + {i} < m) {{\n      const T e = bias == 2 ? extra[{i} * bias_step] : 0;\n"
        + "\n".join(f"      vstore{lanes}(c{i}_{v} + e{v} + e, {v}, c + {i} * c_row);" for v in range(vectors))
        + "\n    }"
        for i in range(rows)
    )  # fmt: skip
    part = "\n".join(
        f"    if (first + {i} < m) {{\n      T out[{width}];\n"
        + "\n".join(f"      vstore{lanes}(c{i}_{v}, {v}, out);" for v in range(vectors))
        + f"\n      put(out, c + {i} * c_row, n - column, bias, bias == 2 ? extra + {i} * bias_step : extra,"
        " bias_step);" + "\n    }"
        for i in range(rows)
    )
    return f"""{header(double)}
#pragma OPENCL FP_CONTRACT ON
void put(const T* out, __global T* c, long left, long bias, __global const T* p, long step) {{
  const T one = bias == 2 ? *p : 0;
  for (int j = 0; j < left; ++j) c[j] = out[j] + (bias == 1 ? p[j * step] : one);
}}
{kind} several(int v, __global const T* p, long step) {{
  if (step == 1) return vload{lanes}(v, p);
  T out[{lanes}];
  for (int j = 0; j < {lanes}; ++j) out[j] = p[(v * {lanes} + j) * step];
  return vload{lanes}(0, out);
}}
{ALONE}
void panel_product(__global const T* restrict A, __global const T* restrict B, __global const T* restrict P,
                   __global T* restrict C, const Numbers w) {{
{words(PRODUCT)}
  const long column = get_global_id(0) * {width}, first = get_global_id(1) * {rows};
  const long batch = get_global_id(2), outer = batch / batches, inner_batch = batch - outer * batches;
{sums}
  for (long r = 0; r < repeats; ++r) {{
    __global const T* b = B + b_at + outer * b_outer + inner_batch * b_batch + r * b_repeat;
    b += get_global_id(0) * b_panel;
    __global const T* a = A + a_at + outer * a_outer + inner_batch * a_batch + r * a_repeat;
{begin}
    long at = 0;
    const long stop = r + 1 < repeats ? inner : tail;
    for (long k = 0; k < stop; ++k) {{
{loads}
{fold}
      b += b_inner;
      at += a_inner;
    }}
  }}
  __global const T* extra = P + bias_at + (bias == 2 ? inner_batch * m + first : column) * bias_step;
  __global T* c = C + c_at + outer * c_outer + inner_batch * c_batch + first * c_row + column;
  if (n - column >= {width}) {{
{extra}
{whole}
  }} else {{
{part}
  }}
}}
"""


def pack(double: bool, vectors: int = 2) -> str:
    """B in panels: {width} columns side by side for each row, zeros after the last column."""
    width = (8 if double else 16) * vectors
    return f"""{header(double)}
{ALONE}
void pack(__global const T* restrict B, __global T* restrict P, const Numbers w) {{
{words(PACK)}
  const long panel = get_global_id(0), column = panel * {width}, batch = get_global_id(2);
  const long r = get_global_id(1) / chunks, start = (get_global_id(1) - r * chunks) * chunk;
  const long stop = min(start + chunk, inner), outer = batch / batches;
  __global const T* b = B + b_at + outer * b_outer + (batch - outer * batches) * b_batch + r * b_repeat;
  __global T* p = P + ((batch * get_global_size(0) + panel) * repeats + r) * inner * {width};
  b += column * b_column;
  if (column + {width} <= n && b_column == 1) {{
    for (long k = start; k < stop; ++k)
      for (int j = 0; j < {width}; ++j) p[k * {width} + j] = b[k * b_inner + j];
  }} else if (column + {width} <= n) {{
    for (long k = start; k < stop; ++k)
      for (int j = 0; j < {width}; ++j) p[k * {width} + j] = b[k * b_inner + j * b_column];
  }} else {{
    const int there = (int)(n - column);
    for (long k = start; k < stop; ++k) {{
      for (int j = 0; j < there; ++j) p[k * {width} + j] = b[k * b_inner + j * b_column];
      for (int j = there; j < {width}; ++j) p[k * {width} + j] = 0;
    }}
  }}
}}
"""


def tiled_product(double: bool, tile: int = 32, side: int = 8) -> str:
    """For graphics cards: `side` x `side` work-items share tiles of A and B in local memory, and each keeps a
    square of tile / side sums in registers. Any strides, no copies."""
    each = tile // side
    depth, items = 16, side * side
    return f"""{header(double)}
#pragma OPENCL FP_CONTRACT ON
__kernel __attribute__((reqd_work_group_size({side}, {side}, 1)))
void tiled_product(__global const T* restrict A, __global const T* restrict B, __global const T* restrict P,
                   __global T* restrict C, const Numbers w) {{
  __local T left[{depth}][{tile} + 1], right[{depth}][{tile} + 1];
{words(PRODUCT)}
  const int x = get_local_id(0), y = get_local_id(1), item = y * {side} + x;
  const long column = get_group_id(0) * {tile}, first = get_group_id(1) * {tile};
  const long batch = get_group_id(2), outer = batch / batches, inner_batch = batch - outer * batches;
  __global const T* a = A + a_at + outer * a_outer + inner_batch * a_batch;
  __global const T* b = B + b_at + outer * b_outer + inner_batch * b_batch;
  T c[{each}][{each}];
  for (int i = 0; i < {each}; ++i) for (int j = 0; j < {each}; ++j) c[i][j] = 0;
  for (long r = 0; r < repeats; ++r) for (long k = 0; k < inner; k += {depth}) {{
    for (int s = item; s < {tile * depth}; s += {items}) {{
      const int ai = a_inner == 1 ? s / {depth} : s % {tile}, ak = a_inner == 1 ? s % {depth} : s / {tile};
      const int bj = b_column == 1 ? s % {tile} : s / {depth}, bk = b_column == 1 ? s / {tile} : s % {depth};
      left[ak][ai] = first + ai < m && k + ak < inner ? a[(first + ai) * a_row + (k + ak) * a_inner + r * a_repeat] : 0;
      right[bk][bj] = column + bj < n && k + bk < inner
          ? b[(k + bk) * b_inner + (column + bj) * b_column + r * b_repeat] : 0;
    }}
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int s = 0; s < {depth}; ++s) {{
      T l[{each}], q[{each}];
      for (int i = 0; i < {each}; ++i) {{ l[i] = left[s][y + i * {side}]; q[i] = right[s][x + i * {side}]; }}
      for (int i = 0; i < {each}; ++i) for (int j = 0; j < {each}; ++j) c[i][j] = fma(l[i], q[j], c[i][j]);
    }}
    barrier(CLK_LOCAL_MEM_FENCE);
  }}
  for (int i = 0; i < {each}; ++i) {{
    const long row = first + y + i * {side};
    if (row >= m) continue;
    for (int j = 0; j < {each}; ++j) {{
      const long at = column + x + j * {side};
      if (at >= n) continue;
      const T more = bias == 1 ? P[bias_at + at * bias_step]
          : bias == 2 ? P[bias_at + (inner_batch * m + row) * bias_step] : 0;
      C[c_at + outer * c_outer + inner_batch * c_batch + row * c_row + at] = c[i][j] + more;
    }}
  }}
}}
"""
