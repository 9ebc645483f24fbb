// Max and average pooling over one to three trailing dimensions, as three: (lead, sizes) to (lead, counts).
// Gradients are gathered by each input element from the windows that hold it: no atomics, the same bits every time.

#define EACH(i, total) \
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < (total); i += (i64)gridDim.x * blockDim.x)

// Whether a is in front of the winner b: larger, or the first nan.
INLINE bool beats(A a, A b) { return a > b || (is_nan(a) && !is_nan(b)); }

// The place in `x` of the first largest element of window (a, b, c); -1 where the window holds padding only.
INLINE i64 winner(const T* x, int a, int b, int c, const Window& of) {
  i64 best = -1;
  A top = 0;
  for (int u = 0; u < of.k[0]; u++) {
    int i = a * of.s[0] - of.p[0] + u * of.d[0];
    if (i < 0 || i >= of.x[0]) continue;
    for (int v = 0; v < of.k[1]; v++) {
      int j = b * of.s[1] - of.p[1] + v * of.d[1];
      if (j < 0 || j >= of.x[1]) continue;
      for (int w = 0; w < of.k[2]; w++) {
        int k = c * of.s[2] - of.p[2] + w * of.d[2];
        if (k < 0 || k >= of.x[2]) continue;
        i64 at = ((i64)i * of.x[1] + j) * of.x[2] + k;
        A one = wide(x[at]);
        if (best < 0 || beats(one, top)) {
          best = at;
          top = one;
        }
      }
    }
  }
  return best;
}

KERNEL max_pool(const T* __restrict__ x, T* __restrict__ y, i64 lead, Window of) {
  i64 inner = (i64)of.y[0] * of.y[1] * of.y[2];
  EACH(o, lead * inner) {
    const T* from = x + o / inner * ((i64)of.x[0] * of.x[1] * of.x[2]);
    int c = (int)(o % of.y[2]), b = (int)(o / of.y[2] % of.y[1]), a = (int)(o / ((i64)of.y[1] * of.y[2]) % of.y[0]);
    i64 at = winner(from, a, b, c, of);
    y[o] = at < 0 ? narrow(-infinity()) : from[at];
  }
}

// The windows of one dimension that hold element i are those from `first` to `last`; with dilation some do not.
INLINE int first_window(int i, int k, int s, int p, int d) {
  int low = i + p - (k - 1) * d;
  return low <= 0 ? 0 : (low + s - 1) / s;
}
INLINE int last_window(int i, int count, int s, int p) {
  int high = (i + p) / s;
  return high < count ? high : count - 1;
}

KERNEL max_pool_grad(const T* __restrict__ g, const T* __restrict__ x, T* __restrict__ gx, i64 lead, Window of) {
  i64 inner = (i64)of.x[0] * of.x[1] * of.x[2], outer = (i64)of.y[0] * of.y[1] * of.y[2];
  EACH(o, lead * inner) {
    const T* from = x + o / inner * inner;
    const T* grads = g + o / inner * outer;
    i64 mine = o % inner;
    int k = (int)(mine % of.x[2]), j = (int)(mine / of.x[2] % of.x[1]), i = (int)(mine / ((i64)of.x[1] * of.x[2]));
    A total = 0;
    int a1 = last_window(i, of.y[0], of.s[0], of.p[0]), b1 = last_window(j, of.y[1], of.s[1], of.p[1]), c1 = last_window(k, of.y[2], of.s[2], of.p[2]);
    for (int a = first_window(i, of.k[0], of.s[0], of.p[0], of.d[0]); a <= a1; a++)
      for (int b = first_window(j, of.k[1], of.s[1], of.p[1], of.d[1]); b <= b1; b++)
        for (int c = first_window(k, of.k[2], of.s[2], of.p[2], of.d[2]); c <= c1; c++) {
          if ((i + of.p[0] - a * of.s[0]) % of.d[0] || (j + of.p[1] - b * of.s[1]) % of.d[1] || (k + of.p[2] - c * of.s[2]) % of.d[2]) continue;
          i64 at = winner(from, a, b, c, of);
          if (at == mine) total += wide(grads[((i64)a * of.y[1] + b) * of.y[2] + c]);
        }
    gx[o] = narrow(total);
  }
}

// How many elements of the tensor the window holds, in one dimension.
INLINE int inside(int a, int x, int k, int s, int p, int d) {
  int n = 0;
  for (int u = 0; u < k; u++) {
    int i = a * s - p + u * d;
    n += i >= 0 && i < x;
  }
  return n;
}

INLINE A divisor(int a, int b, int c, int padded, const Window& of) {
  if (padded) return (A)(of.k[0] * of.k[1] * of.k[2]);
  return (A)(inside(a, of.x[0], of.k[0], of.s[0], of.p[0], of.d[0]) * inside(b, of.x[1], of.k[1], of.s[1], of.p[1], of.d[1]) * inside(c, of.x[2], of.k[2], of.s[2], of.p[2], of.d[2]));
}

KERNEL avg_pool(const T* __restrict__ x, T* __restrict__ y, i64 lead, int padded, Window of) {
  i64 inner = (i64)of.y[0] * of.y[1] * of.y[2];
  EACH(o, lead * inner) {
    const T* from = x + o / inner * ((i64)of.x[0] * of.x[1] * of.x[2]);
    int c = (int)(o % of.y[2]), b = (int)(o / of.y[2] % of.y[1]), a = (int)(o / ((i64)of.y[1] * of.y[2]) % of.y[0]);
    A total = 0;
    for (int u = 0; u < of.k[0]; u++) {
      int i = a * of.s[0] - of.p[0] + u * of.d[0];
      if (i < 0 || i >= of.x[0]) continue;
      for (int v = 0; v < of.k[1]; v++) {
        int j = b * of.s[1] - of.p[1] + v * of.d[1];
        if (j < 0 || j >= of.x[1]) continue;
        for (int w = 0; w < of.k[2]; w++) {
          int k = c * of.s[2] - of.p[2] + w * of.d[2];
          if (k >= 0 && k < of.x[2]) total += wide(from[((i64)i * of.x[1] + j) * of.x[2] + k]);
        }
      }
    }
    y[o] = narrow(total / divisor(a, b, c, padded, of));
  }
}

KERNEL avg_pool_grad(const T* __restrict__ g, T* __restrict__ gx, i64 lead, int padded, Window of) {
  i64 inner = (i64)of.x[0] * of.x[1] * of.x[2], outer = (i64)of.y[0] * of.y[1] * of.y[2];
  EACH(o, lead * inner) {
    const T* grads = g + o / inner * outer;
    i64 mine = o % inner;
    int k = (int)(mine % of.x[2]), j = (int)(mine / of.x[2] % of.x[1]), i = (int)(mine / ((i64)of.x[1] * of.x[2]));
    A total = 0;
    int a1 = last_window(i, of.y[0], of.s[0], of.p[0]), b1 = last_window(j, of.y[1], of.s[1], of.p[1]), c1 = last_window(k, of.y[2], of.s[2], of.p[2]);
    for (int a = first_window(i, of.k[0], of.s[0], of.p[0], of.d[0]); a <= a1; a++)
      for (int b = first_window(j, of.k[1], of.s[1], of.p[1], of.d[1]); b <= b1; b++)
        for (int c = first_window(k, of.k[2], of.s[2], of.p[2], of.d[2]); c <= c1; c++)
          total += wide(grads[((i64)a * of.y[1] + b) * of.y[2] + c]) /
                   divisor(a, b, c, padded, of);
    gx[o] = narrow(total);
  }
}
