// Layer norm and RMS norm over rows of n elements, and their gradients. A null weight or bias is none.

template <bool CENTRED>
INLINE void norm_row(const T* x, const T* weight, const T* bias, T* y, T* mean, T* rstd, i64 row, i64 n, A eps) {
  x += row * n;
  y += row * n;
  A centre = 0, square = 0;
  if (CENTRED) {
    for (i64 i = threadIdx.x; i < n; i += blockDim.x) centre += wide(x[i]);
    centre = team_fold(centre, Sum()) / (A)n;
  }
  for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
    A d = wide(x[i]) - centre;
    square += d * d;
  }
  A scale = (A)1 / sqrt(team_fold(square, Sum()) / (A)n + eps);
  for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
    A v = (wide(x[i]) - centre) * scale;
    if (weight) v *= wide(weight[i]);
    if (bias) v += wide(bias[i]);
    y[i] = narrow(v);
  }
  if (threadIdx.x == 0) {
    if (CENTRED) mean[row] = narrow(centre);
    rstd[row] = narrow(scale);
  }
}

KERNEL_OF(1024) layer_norm(const T* __restrict__ x, const T* weight, const T* bias, T* __restrict__ y, T* __restrict__ mean,
                  T* __restrict__ rstd, i64 rows, i64 n, double eps) {
  i64 row = team_row();
  if (row < rows) norm_row<true>(x, weight, bias, y, mean, rstd, row, n, (A)eps);
}

KERNEL_OF(1024) rms_norm(const T* __restrict__ x, const T* weight, T* __restrict__ y, T* __restrict__ rstd, i64 rows, i64 n, double eps) {
  i64 row = team_row();
  if (row < rows) norm_row<false>(x, weight, (const T*)0, y, (T*)0, rstd, row, n, (A)eps);
}

template <bool CENTRED>
INLINE void norm_grad_row(const T* g, const T* x, const T* weight, const T* mean, const T* rstd, T* gx, i64 row, i64 n) {
  g += row * n;
  x += row * n;
  gx += row * n;
  A centre = CENTRED ? wide(mean[row]) : (A)0, scale = wide(rstd[row]);
  A plain = 0, along = 0;
  for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
    A inner = wide(g[i]);
    if (weight) inner *= wide(weight[i]);
    if (CENTRED) plain += inner;
    along += inner * ((wide(x[i]) - centre) * scale);
  }
  if (CENTRED) plain = team_fold(plain, Sum()) / (A)n;
  along = team_fold(along, Sum()) / (A)n;
  for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
    A inner = wide(g[i]);
    if (weight) inner *= wide(weight[i]);
    gx[i] = narrow(scale * (inner - plain - (wide(x[i]) - centre) * scale * along));
  }
}

KERNEL_OF(1024) layer_norm_grad(const T* __restrict__ g, const T* __restrict__ x, const T* weight, const T* __restrict__ mean,
                       const T* __restrict__ rstd, T* __restrict__ gx, i64 rows, i64 n) {
  i64 row = team_row();
  if (row < rows) norm_grad_row<true>(g, x, weight, mean, rstd, gx, row, n);
}

KERNEL_OF(1024) rms_norm_grad(const T* __restrict__ g, const T* __restrict__ x, const T* weight, const T* __restrict__ rstd,
                     T* __restrict__ gx, i64 rows, i64 n) {
  i64 row = team_row();
  if (row < rows) norm_grad_row<false>(g, x, weight, (const T*)0, rstd, gx, row, n);
}

// Gradients of weight and bias: sums down the rows, 32 columns a block of 32 x 8 threads. `mean` and `gb` may be null.
KERNEL_OF(1024) norm_grad_columns(const T* __restrict__ g, const T* __restrict__ x, const T* mean, const T* __restrict__ rstd,
                         T* __restrict__ gw, T* gb, i64 rows, i64 n) {
  __shared__ A along[8][33];
  __shared__ A plain[8][33];
  i64 column = (i64)blockIdx.x * 32 + threadIdx.x;
  A w = 0, b = 0;
  if (column < n) {
    for (i64 row = threadIdx.y; row < rows; row += 8) {
      A v = wide(g[row * n + column]);
      A centre = mean ? wide(mean[row]) : (A)0;
      w += v * ((wide(x[row * n + column]) - centre) * wide(rstd[row]));
      b += v;
    }
  }
  along[threadIdx.y][threadIdx.x] = w;
  plain[threadIdx.y][threadIdx.x] = b;
  __syncthreads();
  if (threadIdx.y == 0 && column < n) {
    for (int i = 1; i < 8; i++) {
      w += along[i][threadIdx.x];
      b += plain[i][threadIdx.x];
    }
    gw[column] = narrow(w);
    if (gb) gb[column] = narrow(b);
  }
}
