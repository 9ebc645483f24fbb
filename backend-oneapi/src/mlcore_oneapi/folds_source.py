"""OpenCL C of reductions for processors: sums and extrema along rows or columns, a vector at a time."""

from __future__ import annotations

from typing import Final

from mlcore_oneapi.products_source import ALONE, words
from mlcore_oneapi.rows_source import prelude

FOLD: Final = ("rows", "n", "x_at", "row", "per", "length", "parts")

# The start, one more vector, and one more number; nan wins in extrema.
KINDS: Final = {
    "reduce_sum": ("0", "a + v", "a + v"),
    "max": ("-INFINITY", "select(a, v, (v > a) | (v != v))", "(v > a || v != v ? v : a)"),
    "min": ("INFINITY", "select(a, v, (v < a) | (v != v))", "(v < a || v != v ? v : a)"),
}


def _head(double: bool, kind: str) -> str:
    start, vector, single = KINDS[kind]
    return f"""{prelude(double)}
#define START ((T)({start}))
V more(V a, V v) {{ return {vector}; }}
T one_more(T a, T v) {{ return {single}; }}
T all_of(V v) {{
  T o[N];
  STORE(v, 0, o);
  for (int s = N / 2; s > 0; s /= 2) for (int j = 0; j < s; ++j) o[j] = one_more(o[j], o[j + s]);
  return o[0];
}}
"""


def fold_rows(double: bool, kind: str) -> str:
    """Each row of `n` elements, in `parts` of `length`, becomes one number a part; `row` is the step of rows."""
    return f"""{_head(double, kind)}
{ALONE}
void fold_rows(__global const T* restrict X, __global T* restrict Y, const Numbers w) {{
{words(FOLD)}
  const long stop = min(rows * parts, (long)(get_global_id(0) + 1) * per);
  for (long out = get_global_id(0) * per; out < stop; ++out) {{
    const long r = out / parts, first = (out - r * parts) * length, last = min(first + length, n);
    __global const T* x = X + x_at + r * row;
    V a = START, b = START;
    long k = first;
    for (; k + 2 * N <= last; k += 2 * N) {{
      a = more(a, LOAD(0, x + k));
      b = more(b, LOAD(0, x + k + N));
    }}
    a = more(a, b);
    T rest = START;
    if (k + N <= last) {{
      a = more(a, LOAD(0, x + k));
      k += N;
    }}
    for (; k < last; ++k) rest = one_more(rest, x[k]);
    Y[out] = one_more(all_of(a), rest);
  }}
}}
"""


def fold_columns(double: bool, kind: str) -> str:
    """Each of `n` columns over `rows` rows, in `parts` of `length` rows: (parts, n) numbers. A work-item takes one
    vector of columns of one part, of (blocks of columns, parts)."""
    return f"""{_head(double, kind)}
{ALONE}
void fold_columns(__global const T* restrict X, __global T* restrict Y, const Numbers w) {{
{words(FOLD)}
  const long k = get_global_id(0) * N, part = get_global_id(1), left = n - k;
  const long first = part * length, last = min(first + length, rows);
  __global const T* x = X + x_at + k;
  if (left >= N) {{
    V a = START;
    for (long r = first; r < last; ++r) a = more(a, LOAD(0, x + r * row));
    STORE(a, 0, Y + part * n + k);
  }} else for (long j = 0; j < left; ++j) {{
    T a = START;
    for (long r = first; r < last; ++r) a = one_more(a, x[r * row + j]);
    Y[part * n + k + j] = a;
  }}
}}
"""
