"""OpenCL C of convolutions and pooling: pictures as panels of columns, columns as pictures, and windows."""

from __future__ import annotations

from typing import Final

from mlcore_oneapi.products_source import ALONE, header, words

GROUP: Final = 64
EACH: Final = f"__kernel __attribute__((reqd_work_group_size({GROUP}, 1, 1)))"

# A picture (n, g, c, d, h, w) by strides, its windows, and what is written. Two dimensions have a first one of 1.
IMAGE: Final = (
    "x_at", "x_n", "x_g", "x_c", "x_d", "x_h", "x_w", "D", "H", "W", "KD", "KH", "KW", "SD", "SH", "SW",
    "DD", "DH", "DW", "PD", "PH", "PW", "OD", "OH", "OW",
)  # fmt: skip
PANELS: Final = (*IMAGE, "n", "inner", "groups", "chunk", "chunks", "pictures", "first")


def unfold(double: bool, vectors: int = 2, joined: bool = False) -> str:
    """Panels for a product whose columns are places and whose rows are (channel, kernel element). A panel's places
    are a few pieces of output rows, and each piece of a row is copied as it stands. `joined`: the places of all
    pictures follow each other, and only the last panel may be broken."""
    width = (8 if double else 16) * vectors
    return f"""{header(double)}
{ALONE}
void unfold(__global const T* restrict X, __global T* restrict P, const Numbers w) {{
{words(PANELS)}
  const long panel = get_global_id(0), batch = get_global_id(2), picture = {"0" if joined else "batch / groups"};
  const long g = batch - picture * groups, start = get_global_id(1) * chunk, stop = min(start + chunk, inner);
  __global const T* x = X + x_at + (first + picture) * x_n + g * x_g;
  __global T* out = P + (batch * get_global_size(0) + panel) * inner * {width};
  int from_[{width}], to_[{width}], d_[{width}], h_[{width}], w_[{width}], n_[{width}], pieces = 0;
  const int there = (int)min((long){width}, n - panel * {width});
  for (int j = 0; j < there;) {{
    const int p = (int)(panel * {width}) + j, line = p / (int)OW, ow = p - line * (int)OW;
    const int row = {"line % (int)(OD * OH)" if joined else "line"};
    n_[pieces] = {"line / (int)(OD * OH)" if joined else "0"};
    from_[pieces] = j;
    d_[pieces] = row / (int)OH * (int)SD - (int)PD;
    h_[pieces] = row % (int)OH * (int)SH - (int)PH;
    w_[pieces] = ow * (int)SW - (int)PW;
    j = min(there, j + (int)OW - ow);
    to_[pieces++] = j;
  }}
  const int wide = (int)W, by = (int)SW;
  const int size = (int)(KD * KH * KW), e0 = (int)start % size, deep = (int)KD, tall = (int)KH, across = (int)KW;
  int c = (int)start / size, kd = e0 / (tall * across), kh = e0 / across % tall, kw = e0 % across;
  for (long k = start; k < stop; ++k) {{
    const int d1 = kd * (int)DD, h1 = kh * (int)DH, w1 = kw * (int)DW;
    __global T* o = out + k * {width};
    for (int s = 0; s < pieces; ++s) {{
      const int id = d_[s] + d1, ih = h_[s] + h1, iw = w_[s] + w1, from = from_[s], to = to_[s];
      if ((uint)id >= (uint)D || (uint)ih >= (uint)H) {{
        for (int j = from; j < to; ++j) o[j] = 0;
        continue;
      }}
      const int low = iw >= 0 ? from : min(to, from + (by - 1 - iw) / by);
      const int high = iw >= wide ? low : max(low, min(to, from + (wide - 1 - iw) / by + 1));
      __global const T* in = x + n_[s] * x_n + c * x_c + id * x_d + ih * x_h + iw * x_w;
      for (int j = from; j < low; ++j) o[j] = 0;
      if (by == 1 && x_w == 1) for (int j = low; j < high; ++j) o[j] = in[j - from];
      else for (int j = low; j < high; ++j) o[j] = in[(j - from) * by * x_w];
      for (int j = high; j < to; ++j) o[j] = 0;
    }}
    for (int j = there; j < {width}; ++j) o[j] = 0;
    if (++kw == across) {{  // the next kernel element, without a division
      kw = 0;
      if (++kh == tall) {{
        kh = 0;
        if (++kd == deep) {{
          kd = 0;
          ++c;
        }}
      }}
    }}
  }}
}}
"""


FOLD: Final = (*IMAGE, "elements", "y_at", "c_at")


def fold(double: bool) -> str:
    """The adjoint: each element of a picture adds up what the columns hold of it, so nothing is written twice."""
    return f"""{header(double)}
{EACH}
void fold(__global const T* restrict C, __global T* restrict Y, const Numbers w) {{
{words(FOLD)}
  for (long i = get_global_id(0); i < elements; i += get_global_size(0)) {{
    const long plane = i / (D * H * W), e = i - plane * D * H * W;
    const int d = (int)(e / (H * W)), h = (int)(e / W % H), x = (int)(e % W);
    __global const T* c = C + c_at + plane * KD * KH * KW * OD * OH * OW;
    T sum = 0;
    for (int a = 0; a < (int)KD; ++a) {{
      const int at_d = d + (int)PD - a * (int)DD, od = at_d / (int)SD;
      if (at_d < 0 || od * (int)SD != at_d || od >= (int)OD) continue;
      for (int b = 0; b < (int)KH; ++b) {{
        const int at_h = h + (int)PH - b * (int)DH, oh = at_h / (int)SH;
        if (at_h < 0 || oh * (int)SH != at_h || oh >= (int)OH) continue;
        for (int f = 0; f < (int)KW; ++f) {{
          const int at_w = x + (int)PW - f * (int)DW, ow = at_w / (int)SW;
          if (at_w < 0 || ow * (int)SW != at_w || ow >= (int)OW) continue;
          sum += c[(((a * KH + b) * KW + f) * OD + od) * OH * OW + oh * OW + ow];
        }}
      }}
    }}
    Y[y_at + i] = sum;
  }}
}}
"""


# -- pooling: planes (all leading dimensions) of up to three --------------------------------------------------------

POOL: Final = (
    "elements", "x_at", "x_plane", "x_d", "x_h", "x_w", "D", "H", "W", "KD", "KH", "KW", "SD", "SH", "SW",
    "DD", "DH", "DW", "PD", "PH", "PW", "OD", "OH", "OW", "g_at", "g_plane", "g_d", "g_h", "g_w",
    "y_at", "y_plane", "y_d", "y_h", "y_w", "counted",
)  # fmt: skip

_OUT = """\
    const long plane = i / (OD * OH * OW), e = i - plane * OD * OH * OW;
    const int od = (int)(e / (OH * OW)), oh = (int)(e / OW % OH), ow = (int)(e % OW);
    const int d0 = od * (int)SD - (int)PD, h0 = oh * (int)SH - (int)PH, w0 = ow * (int)SW - (int)PW;
    __global const T* x = X + x_at + plane * x_plane;"""
_WINDOW = """\
    for (int a = 0; a < (int)KD; ++a) for (int b = 0; b < (int)KH; ++b) for (int f = 0; f < (int)KW; ++f) {
      const int d = d0 + a * (int)DD, h = h0 + b * (int)DH, c = w0 + f * (int)DW;
      if ((uint)d >= (uint)D || (uint)h >= (uint)H || (uint)c >= (uint)W) continue;"""
# Every window that an element of the picture is in; `a`, `b`, `f` are its place in the window.
_COVERING = """\
    const long plane = i / (D * H * W), e = i - plane * D * H * W;
    const int d = (int)(e / (H * W)), h = (int)(e / W % H), c = (int)(e % W);
    T sum = 0;
    for (int a = 0; a < (int)KD; ++a) {
      const int at_d = d + (int)PD - a * (int)DD, od = at_d / (int)SD;
      if (at_d < 0 || od * (int)SD != at_d || od >= (int)OD) continue;
      for (int b = 0; b < (int)KH; ++b) {
        const int at_h = h + (int)PH - b * (int)DH, oh = at_h / (int)SH;
        if (at_h < 0 || oh * (int)SH != at_h || oh >= (int)OH) continue;
        for (int f = 0; f < (int)KW; ++f) {
          const int at_w = c + (int)PW - f * (int)DW, ow = at_w / (int)SW;
          if (at_w < 0 || ow * (int)SW != at_w || ow >= (int)OW) continue;"""


def _kernel(double: bool, name: str, inputs: str, body: str) -> str:
    params = ", ".join(f"__global const T* restrict {one}" for one in inputs)
    return f"""{header(double)}
{EACH}
void {name}({params}, __global T* restrict Z, const Numbers w) {{
{words(POOL)}
  for (long i = get_global_id(0); i < elements; i += get_global_size(0)) {{
{body}
  }}
}}
"""


def max_pool(double: bool) -> str:
    """The largest element of each window; nan is the largest of all."""
    body = f"""{_OUT}
    T best = -INFINITY;
{_WINDOW}
      const T v = x[d * x_d + h * x_h + c * x_w];
      if (v > best || v != v) best = v;
      if (v != v) {{ a = (int)KD; b = (int)KH; f = (int)KW; }}
    }}
    Z[i] = best;"""
    return _kernel(double, "max_pool", "X", body)


def max_pool_grad(double: bool) -> str:
    """An element gets the gradient of the windows whose first largest element it is. X, G and Y are the input, the
    incoming gradient and the output."""
    body = f"""{_COVERING}
          const long out = plane * y_plane + od * y_d + oh * y_h + ow * y_w;
          const T top = Y[y_at + out], v = X[x_at + plane * x_plane + d * x_d + h * x_h + c * x_w];
          int mine = v == top || (v != v && top != top);
          for (int k = 0; mine && k < (a * (int)KH + b) * (int)KW + f; ++k) {{
            const int pd = od * (int)SD - (int)PD + k / (int)(KH * KW) * (int)DD;
            const int ph = oh * (int)SH - (int)PH + k / (int)KW % (int)KH * (int)DH;
            const int pw = ow * (int)SW - (int)PW + k % (int)KW * (int)DW;
            if ((uint)pd >= (uint)D || (uint)ph >= (uint)H || (uint)pw >= (uint)W) {{
              if (top == -INFINITY) mine = 0;
              continue;
            }}
            const T other = X[x_at + plane * x_plane + pd * x_d + ph * x_h + pw * x_w];
            if (other == top || (other != other && top != top)) mine = 0;
          }}
          if (mine) sum += G[g_at + plane * g_plane + od * g_d + oh * g_h + ow * g_w];
        }}
      }}
    }}
    Z[i] = sum;"""
    return _kernel(double, "max_pool_grad", "GXY", body)


_COUNT = """\
          int count = (int)(KD * KH * KW);
          if (!counted) {
            count = 0;
            for (int p = 0; p < (int)KD; ++p) for (int q = 0; q < (int)KH; ++q) for (int r = 0; r < (int)KW; ++r) {
              const int pd = od * (int)SD - (int)PD + p, ph = oh * (int)SH - (int)PH + q;
              const int pw = ow * (int)SW - (int)PW + r;
              count += (uint)pd < (uint)D && (uint)ph < (uint)H && (uint)pw < (uint)W;
            }
          }"""


def avg_pool(double: bool) -> str:
    """The mean of each window, over all of it or over what lies inside."""
    body = f"""{_OUT}
    T sum = 0;
{_WINDOW}
      sum += x[d * x_d + h * x_h + c * x_w];
    }}
{_COUNT}
    Z[i] = sum / count;"""
    return _kernel(double, "avg_pool", "X", body)


def avg_pool_grad(double: bool) -> str:
    """Each element's share of the windows that it is in."""
    body = f"""{_COVERING}
{_COUNT}
          sum += G[g_at + plane * g_plane + od * g_d + oh * g_h + ow * g_w] / count;
        }}
      }}
    }}
    Z[i] = sum;"""
    return _kernel(double, "avg_pool_grad", "G", body)
