"""OpenCL C of what goes along rows or channels: softmax and its kin, cross-entropy, layer norm, batch norm.

One work-item takes a row, sixteen elements (eight of float64) at a time: right for processors, whose work-items are
few and whose vectors are wide. Sums are of so many partial sums, so they are more exact than a plain loop.
"""

from __future__ import annotations

from typing import Final

from mlcore_oneapi.products_source import ALONE, header, words

ROWS: Final = ("rows", "n", "inner", "x_at", "g_at", "y_at", "t_at", "l_at", "per")
"""Row r is elements ``(r / inner) * n * inner + r % inner + k * inner``; all arrays of a shape are contiguous."""


def prelude(double: bool) -> str:
    lanes = 8 if double else 16
    steps, width = [], lanes
    while width > 1:
        width //= 2
        kind = f"T{width}" if width > 1 else "T"
        steps.append((kind, width))
    tree_add, tree_max, last = "", "", "v"
    for kind, width in steps:
        name = f"v{width}"
        tree_add += f"  const {kind} {name} = {last}.lo + {last}.hi;\n"
        tree_max += f"  const {kind} {name} = fmax({last}.lo, {last}.hi);\n"
        last = name
    base = "double" if double else "float"
    defines = "\n".join(f"#define T{k} {base}{k}" for k in (2, 4, 8, 16))
    return f"""{header(double)}{defines}
#define V {base}{lanes}
#define N {lanes}
#define LOAD vload{lanes}
#define STORE vstore{lanes}
T add_up(V v) {{
{tree_add}  return {last};
}}
T largest(V v) {{
{tree_max}  return {last};
}}
V get(__global const T* p, long left, long step, T fill) {{
  if (left >= N && step == 1) return LOAD(0, p);
  T v[N];
  for (int j = 0; j < N; ++j) v[j] = j < left ? p[j * step] : fill;
  return LOAD(0, v);
}}
void put(V v, __global T* p, long left, long step) {{
  if (left >= N && step == 1) {{ STORE(v, 0, p); return; }}
  T o[N];
  STORE(v, 0, o);
  for (int j = 0; j < N && j < left; ++j) p[j * step] = o[j];
}}
T top_of(__global const T* x, long n, long step) {{
  V top = -INFINITY;
  for (long k = 0; k < n; k += N) top = fmax(top, get(x + k * step, n - k, step, -INFINITY));
  const T found = largest(top);
  return isfinite(found) ? found : 0;
}}
"""


def _rows(double: bool, name: str, params: str, body: str, names: tuple[str, ...] = ROWS) -> str:
    return f"""{prelude(double)}
{ALONE}
void {name}({params}, const Numbers w) {{
{words(names)}
  const long stop = min(rows, (long)(get_global_id(0) + 1) * per);
  for (long row = get_global_id(0) * per; row < stop; ++row) {{
{body}
  }}
}}
"""


_IN = "__global const T* restrict {0}"
_OUT = "__global T* restrict {0}"
_AT = "    const long at = row / inner * n * inner + row % inner;\n"


def params(inputs: str, outputs: str) -> str:
    return ", ".join([*(_IN.format(one) for one in inputs), *(_OUT.format(one) for one in outputs)])


def softmax(double: bool) -> str:
    """exp(x - top) / its sum; a row of -inf only gives zeros."""
    return _rows(
        double,
        "softmax",
        params("X", "Y"),
        f"""{_AT}
    __global const T* x = X + x_at + at;
    __global T* y = Y + y_at + at;
    const T top = top_of(x, n, inner);
    V sum = 0;
    for (long k = 0; k < n; k += N) {{
      const V e = exp(get(x + k * inner, n - k, inner, -INFINITY) - top);
      sum += e;
      put(e, y + k * inner, n - k, inner);
    }}
    const T all = add_up(sum), total = all == 0 ? 1 : all;
    for (long k = 0; k < n; k += N) put(get(y + k * inner, n - k, inner, 0) / total, y + k * inner, n - k, inner);""",
    )


def log_softmax(double: bool) -> str:
    """x - top - log(sum(exp(x - top)))."""
    return _rows(
        double,
        "log_softmax",
        params("X", "Y"),
        f"""{_AT}
    __global const T* x = X + x_at + at;
    __global T* y = Y + y_at + at;
    const T top = top_of(x, n, inner);
    V sum = 0;
    for (long k = 0; k < n; k += N) sum += exp(get(x + k * inner, n - k, inner, -INFINITY) - top);
    const T less = log(add_up(sum));
    for (long k = 0; k < n; k += N)
      put(get(x + k * inner, n - k, inner, 0) - top - less, y + k * inner, n - k, inner);""",
    )


def softmax_grad(double: bool) -> str:
    """y * (g - sum(g * y))."""
    return _rows(
        double,
        "softmax_grad",
        params("GX", "Y"),
        f"""{_AT}
    __global const T *g = G + g_at + at, *x = X + x_at + at;
    V sum = 0;
    for (long k = 0; k < n; k += N)
      sum += get(g + k * inner, n - k, inner, 0) * get(x + k * inner, n - k, inner, 0);
    const T less = add_up(sum);
    for (long k = 0; k < n; k += N)
      put(get(x + k * inner, n - k, inner, 0) * (get(g + k * inner, n - k, inner, 0) - less),
          Y + y_at + at + k * inner, n - k, inner);""",
    )


def log_softmax_grad(double: bool) -> str:
    """g - exp(y) * sum(g)."""
    return _rows(
        double,
        "log_softmax_grad",
        params("GX", "Y"),
        f"""{_AT}
    __global const T *g = G + g_at + at, *x = X + x_at + at;
    V sum = 0;
    for (long k = 0; k < n; k += N) sum += get(g + k * inner, n - k, inner, 0);
    const T all = add_up(sum);
    for (long k = 0; k < n; k += N)
      put(get(g + k * inner, n - k, inner, 0) - exp(get(x + k * inner, n - k, inner, 0)) * all,
          Y + y_at + at + k * inner, n - k, inner);""",
    )


def softmax_cross_entropy(double: bool) -> str:
    """logsumexp(x) - x[target], and logsumexp(x), for each row."""
    given = f"{params('X', '')}, __global const long* restrict I, {params('', 'YL')}"
    return _rows(
        double,
        "softmax_cross_entropy",
        given,
        """
    __global const T* x = X + x_at + row * n;
    const T top = top_of(x, n, 1);
    V sum = 0;
    for (long k = 0; k < n; k += N) sum += exp(get(x + k, n - k, 1, -INFINITY) - top);
    const T found = log(add_up(sum)) + top;
    Y[row] = found - x[I[t_at + row]];
    L[row] = found;""",
    )


def softmax_cross_entropy_grad(double: bool) -> str:
    """g * (exp(x - logsumexp) - 1 at the target)."""
    given = f"{params('GX', '')}, __global const long* restrict I, {params('L', 'Y')}"
    return _rows(
        double,
        "softmax_cross_entropy_grad",
        given,
        """
    __global const T* x = X + x_at + row * n;
    __global T* y = Y + row * n;
    const T g = G[g_at + row], less = L[l_at + row];
    const long target = I[t_at + row];
    for (long k = 0; k < n; k += N) put(exp(get(x + k, n - k, 1, 0) - less) * g, y + k, n - k, 1);
    y[target] = g * (exp(x[target] - less) - 1);""",
    )


NORM: Final = (
    "rows",
    "n",
    "x_at",
    "g_at",
    "w_at",
    "b_at",
    "m_at",
    "s_at",
    "per",
    "has_weight",
    "has_bias",
    "eps",
)


def layer_norm(double: bool) -> str:
    """Each row by its own mean and variance, then the weight and the bias."""
    return _rows(
        double,
        "layer_norm",
        params("XWB", "YMS"),
        f"""
    __global const T *x = X + x_at + row * n;
    V sum = 0;
    for (long k = 0; k < n; k += N) sum += get(x + k, n - k, 1, 0);
    const T mean = add_up(sum) / n;
    sum = 0;
    for (long k = 0; k < n; k += N) {{
      const V d = get(x + k, n - k, 1, mean) - mean;
      sum += d * d;
    }}
    const T scale = 1 / sqrt(add_up(sum) / n + as_{"double((ulong)" if double else "float((uint)"}eps));
    for (long k = 0; k < n; k += N) {{
      V v = (get(x + k, n - k, 1, 0) - mean) * scale;
      if (has_weight) v *= get(W + w_at + k, n - k, 1, 0);
      if (has_bias) v += get(B + b_at + k, n - k, 1, 0);
      put(v, Y + row * n + k, n - k, 1);
    }}
    M[row] = mean;
    S[row] = scale;""",
        NORM,
    )


def layer_norm_grad(double: bool) -> str:
    """The gradient of the input, a row at a time."""
    return _rows(
        double,
        "layer_norm_grad",
        params("GXWMS", "Y"),
        """
    __global const T *x = X + x_at + row * n, *g = G + g_at + row * n;
    const T mean = M[m_at + row], scale = S[s_at + row];
    V one = 0, two = 0;
    for (long k = 0; k < n; k += N) {
      V d = get(g + k, n - k, 1, 0);
      if (has_weight) d *= get(W + w_at + k, n - k, 1, 0);
      one += d;
      two += d * ((get(x + k, n - k, 1, mean) - mean) * scale);
    }
    const T a = add_up(one) / n, b = add_up(two) / n;
    for (long k = 0; k < n; k += N) {
      V d = get(g + k, n - k, 1, 0);
      if (has_weight) d *= get(W + w_at + k, n - k, 1, 0);
      put(scale * (d - a - (get(x + k, n - k, 1, mean) - mean) * scale * b), Y + row * n + k, n - k, 1);
    }""",
        NORM,
    )


def layer_norm_sums(double: bool) -> str:
    """Partial sums over rows of g * normal and of g: sixteen columns and `per` rows to a work-item, of which there
    are (blocks of columns, parts). YM get (parts, n) each."""
    return f"""{prelude(double)}
{ALONE}
void layer_norm_sums({params("GXMS", "YZ")}, const Numbers w) {{
{words(NORM)}
  const long k = get_global_id(0) * N, part = get_global_id(1), left = n - k;
  V one = 0, two = 0;
  for (long row = part * per; row < min(rows, (part + 1) * per); ++row) {{
    const V g = get(G + g_at + row * n + k, left, 1, 0);
    one += g * ((get(X + x_at + row * n + k, left, 1, 0) - M[m_at + row]) * S[s_at + row]);
    two += g;
  }}
  put(one, Y + part * n + k, left, 1);
  put(two, Z + part * n + k, left, 1);
}}
"""
