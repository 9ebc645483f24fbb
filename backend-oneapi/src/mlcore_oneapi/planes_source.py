"""OpenCL C of pooling and folding for processors: a work-item takes whole planes, row by row, with no division and no
condition in the innermost loop. The kernels of windows_source.py do the same an element at a time."""

from __future__ import annotations

from mlcore_oneapi.products_source import ALONE, header, words
from mlcore_oneapi.windows_source import FOLD, POOL

# From which output on a kernel element at `f` falls inside, and up to which.
_RANGES = """\
long low(long f, long pad, long step) { return f >= pad ? 0 : (pad - f + step - 1) / step; }
long high(long f, long pad, long step, long size, long outs) {
  const long last = size - 1 + pad - f;
  return last < 0 ? 0 : min(outs, last / step + 1);
}
"""


def _planes(double: bool, name: str, inputs: str, names: tuple[str, ...], body: str) -> str:
    params = ", ".join(f"__global const T* restrict {one}" for one in inputs)
    plane = "D * H * W" if name.endswith(("grad_planes", "fold_planes")) else "OD * OH * OW"
    return f"""{header(double)}
{_RANGES}
{ALONE}
void {name}({params}, __global T* restrict Z, const Numbers w) {{
{words(names)}
  const long planes = elements / ({plane}), each = (planes + get_global_size(0) - 1) / get_global_size(0);
  for (long plane = get_global_id(0) * each; plane < min(planes, (long)(get_global_id(0) + 1) * each); ++plane) {{
{body}
  }}
}}
"""


# For each kernel element and output row: the rows that meet, and the outputs [from, to) of the row that do.
_MEETING = """\
    for (long a = 0; a < KD; ++a) for (long b = 0; b < KH; ++b) for (long f = 0; f < KW; ++f) {
      const long d_to = high(a * DD, PD, SD, D, OD), h_to = high(b * DH, PH, SH, H, OH);
      const long from = low(f * DW, PW, SW), to = high(f * DW, PW, SW, W, OW);
      for (long od = low(a * DD, PD, SD); od < d_to; ++od) for (long oh = low(b * DH, PH, SH); oh < h_to; ++oh) {
        const long d = od * SD - PD + a * DD, h = oh * SH - PH + b * DH, c0 = f * DW - PW;"""


def fold_planes(double: bool) -> str:
    """See windows_source.fold."""
    return _planes(
        double,
        "fold_planes",
        "C",
        FOLD,
        f"""
    __global T* y = Z + y_at + plane * D * H * W;
    for (long i = 0; i < D * H * W; ++i) y[i] = 0;
    __global const T* c = C + c_at + plane * KD * KH * KW * OD * OH * OW;
{_MEETING}
        __global const T* in = c + ((((a * KH + b) * KW + f) * OD + od) * OH + oh) * OW;
        __global T* out = y + (d * H + h) * W + c0;
        if (SW == 1) for (long o = from; o < to; ++o) out[o] += in[o];
        else for (long o = from; o < to; ++o) out[o * SW] += in[o];
      }}
    }}""",
    )


def max_pool_planes(double: bool) -> str:
    """See windows_source.max_pool."""
    return _planes(
        double,
        "max_pool_planes",
        "X",
        POOL,
        f"""
    __global const T* x = X + x_at + plane * x_plane;
    __global T* z = Z + plane * OD * OH * OW;
    for (long i = 0; i < OD * OH * OW; ++i) z[i] = -INFINITY;
{_MEETING}
        __global const T* in = x + d * x_d + h * x_h + c0 * x_w;
        __global T* out = z + (od * OH + oh) * OW;
        const long step = SW * x_w;
        for (long o = from; o < to; ++o) {{
          const T v = in[o * step], best = out[o];
          out[o] = v > best || v != v ? v : best;
        }}
      }}
    }}""",
    )


def max_pool_grad_planes(double: bool) -> str:
    """See windows_source.max_pool_grad."""
    return _planes(
        double,
        "max_pool_grad_planes",
        "GXY",
        POOL,
        """
    __global const T *x = X + x_at + plane * x_plane, *g = G + g_at + plane * g_plane;
    __global T* z = Z + plane * D * H * W;
    for (long i = 0; i < D * H * W; ++i) z[i] = 0;
    for (long od = 0; od < OD; ++od) for (long oh = 0; oh < OH; ++oh) for (long ow = 0; ow < OW; ++ow) {
      const long d0 = od * SD - PD, h0 = oh * SH - PH, w0 = ow * SW - PW;
      T best = -INFINITY;
      long place = -1, padded = 0;
      for (long a = 0; a < KD; ++a) for (long b = 0; b < KH; ++b) for (long f = 0; f < KW; ++f) {
        const long d = d0 + a * DD, h = h0 + b * DH, c = w0 + f * DW;
        if (d < 0 || d >= D || h < 0 || h >= H || c < 0 || c >= W) {
          padded |= place < 0;
          continue;
        }
        const T v = x[d * x_d + h * x_h + c * x_w];
        if (best == best && (place < 0 || v > best || v != v)) { best = v; place = (d * H + h) * W + c; }
      }
      if (place >= 0 && !(padded && best == -INFINITY)) z[place] += g[od * g_d + oh * g_h + ow * g_w];
    }""",
    )


_COUNT = """\
        long rows = KD * KH;
        if (!counted) {
          const long d0 = od * SD - PD, h0 = oh * SH - PH;
          rows = (min(d0 + KD, D) - max(d0, 0L)) * (min(h0 + KH, H) - max(h0, 0L));
        }"""
_SHARE = "counted ? rows * KW : rows * (min(o * SW - PW + KW, W) - max(o * SW - PW, 0L))"


def avg_pool_planes(double: bool) -> str:
    """See windows_source.avg_pool."""
    return _planes(
        double,
        "avg_pool_planes",
        "X",
        POOL,
        f"""
    __global const T* x = X + x_at + plane * x_plane;
    __global T* z = Z + plane * OD * OH * OW;
    for (long i = 0; i < OD * OH * OW; ++i) z[i] = 0;
{_MEETING}
        __global const T* in = x + d * x_d + h * x_h + c0 * x_w;
        __global T* out = z + (od * OH + oh) * OW;
        for (long o = from; o < to; ++o) out[o] += in[o * SW * x_w];
      }}
    }}
    for (long od = 0; od < OD; ++od) for (long oh = 0; oh < OH; ++oh) {{
{_COUNT}
      for (long o = 0; o < OW; ++o) z[(od * OH + oh) * OW + o] /= {_SHARE};
    }}""",
    )


def avg_pool_grad_planes(double: bool) -> str:
    """See windows_source.avg_pool_grad."""
    return _planes(
        double,
        "avg_pool_grad_planes",
        "G",
        POOL,
        f"""
    __global const T* g = G + g_at + plane * g_plane;
    __global T* z = Z + plane * D * H * W;
    for (long i = 0; i < D * H * W; ++i) z[i] = 0;
{_MEETING}
{_COUNT}
        __global const T* in = g + od * g_d + oh * g_h;
        __global T* out = z + (d * H + h) * W + c0;
        for (long o = from; o < to; ++o) out[o * SW] += in[o * g_w] / ({_SHARE});
      }}
    }}""",
    )
