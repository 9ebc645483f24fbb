"""OpenCL C of batch norm: statistics, the norm with an activation after it, and its gradients."""

from __future__ import annotations

from typing import Final

from mlcore_oneapi.products_source import ALONE, words
from mlcore_oneapi.rows_source import params, prelude

CHANNEL: Final = (
    "batch", "channels", "n", "x_at", "g_at", "w_at", "b_at", "m_at", "s_at", "w_step", "b_step", "m_step", "s_step",
    "has_weight", "has_bias", "eps", "activation", "per",
)  # fmt: skip


def batch_norm_stats(double: bool) -> str:
    """Mean and 1 / sqrt(variance + eps) of each channel of (batch, channels, n)."""
    return f"""{prelude(double)}
{ALONE}
void batch_norm_stats({params("X", "MS")}, const Numbers w) {{
{words(CHANNEL)}
  const long c = get_global_id(0), count = batch * n;
  __global const T* x = X + x_at + c * n;
  V sum = 0;
  T rest = 0;
  for (long b = 0; b < batch; ++b) {{
    __global const T* p = x + b * channels * n;
    long k = 0;
    for (; k + N <= n; k += N) sum += LOAD(0, p + k);
    for (; k < n; ++k) rest += p[k];
  }}
  const T mean = (add_up(sum) + rest) / count;
  sum = 0;
  rest = 0;
  for (long b = 0; b < batch; ++b) {{
    __global const T* p = x + b * channels * n;
    long k = 0;
    for (; k + N <= n; k += N) {{ const V d = LOAD(0, p + k) - mean; sum += d * d; }}
    for (; k < n; ++k) rest += (p[k] - mean) * (p[k] - mean);
  }}
  M[c] = mean;
  S[c] = 1 / sqrt((add_up(sum) + rest) / count + as_{"double((ulong)" if double else "float((uint)"}eps));
}}
"""


def batch_norm_apply(double: bool) -> str:
    """(x - mean) * scale * weight + bias, then the activation (1 relu, 2 relu6); a work-item takes `per` planes."""
    return f"""{prelude(double)}
V follow(V v, long how) {{
  if (how == 0) return v;
  v = select(v, (V)0, v < (V)0);
  return how == 2 ? select(v, (V)6, v > (V)6) : v;
}}
{ALONE}
void batch_norm_apply({params("XWBMS", "Y")}, const Numbers w) {{
{words(CHANNEL)}
  const long stop = min(batch * channels, (long)(get_global_id(0) + 1) * per);
  for (long plane = get_global_id(0) * per; plane < stop; ++plane) {{
    const long c = plane % channels;
    const T mean = M[m_at + c * m_step], scale = S[s_at + c * s_step];
    const T weight = has_weight ? W[w_at + c * w_step] : 1, bias = has_bias ? B[b_at + c * b_step] : 0;
    __global const T* x = X + x_at + plane * n;
    for (long k = 0; k < n; k += N) {{
      V v = (get(x + k, n - k, 1, 0) - mean) * scale;
      if (has_weight) v *= weight;
      if (has_bias) v += bias;
      put(follow(v, activation), Y + plane * n + k, n - k, 1);
    }}
  }}
}}
"""


_SLOPE = """\
V slope(V g, V normal, T weight, T bias, long how, long has_weight, long has_bias) {
  if (how == 0) return g;
  V y = normal;
  if (has_weight) y *= weight;
  if (has_bias) y += bias;
  g = select((V)0, g, y > (V)0);
  return how == 2 ? select((V)0, g, y < (V)6) : g;
}
"""


def batch_norm_sums(double: bool) -> str:
    """Sums over each channel of g * normal and of g, after the activation's slope."""
    return f"""{prelude(double)}{_SLOPE}
{ALONE}
void batch_norm_sums({params("GXWBMS", "YZ")}, const Numbers w) {{
{words(CHANNEL)}
  const long c = get_global_id(0);
  const T mean = M[m_at + c * m_step], scale = S[s_at + c * s_step];
  const T weight = has_weight ? W[w_at + c * w_step] : 1, bias = has_bias ? B[b_at + c * b_step] : 0;
  V one = 0, two = 0;
  for (long b = 0; b < batch; ++b) {{
    const long at = (b * channels + c) * n;
    for (long k = 0; k < n; k += N) {{
      const V normal = (get(X + x_at + at + k, n - k, 1, mean) - mean) * scale;
      const V g = slope(get(G + g_at + at + k, n - k, 1, 0), normal, weight, bias, activation, has_weight, has_bias);
      one += g * normal;
      two += g;
    }}
  }}
  Y[c] = add_up(one);
  Z[c] = add_up(two);
}}
"""


def batch_norm_grad(double: bool) -> str:
    """The gradient of the input, from the sums in O and R."""
    return f"""{prelude(double)}{_SLOPE}
{ALONE}
void batch_norm_grad({params("GXWBMSOR", "Y")}, const Numbers w) {{
{words(CHANNEL)}
  const long stop = min(batch * channels, (long)(get_global_id(0) + 1) * per);
  for (long plane = get_global_id(0) * per; plane < stop; ++plane) {{
    const long c = plane % channels, count = batch * n;
    const T mean = M[m_at + c * m_step], scale = S[s_at + c * s_step];
    const T weight = has_weight ? W[w_at + c * w_step] : 1, bias = has_bias ? B[b_at + c * b_step] : 0;
    const T factor = has_weight ? scale * weight : scale, one = O[c], two = R[c];
    for (long k = 0; k < n; k += N) {{
      const V normal = (get(X + x_at + plane * n + k, n - k, 1, mean) - mean) * scale;
      const V g = slope(get(G + g_at + plane * n + k, n - k, 1, 0), normal, weight, bias, activation, has_weight,
                        has_bias);
      put(factor * (g - (two + normal * one) / count), Y + plane * n + k, n - k, 1);
    }}
  }}
}}
"""
