// Softmax, its logarithm and their gradients, logsumexp and cross-entropy: a team of threads for each row.
// A row r of a tensor (outer, n, inner) starts at (r / inner) * n * inner + r % inner, its elements are inner apart.

INLINE i64 row_start(i64 row, i64 n, i64 inner) { return (row / inner) * n * inner + row % inner; }

// The largest element as a shift; 0 where it is not finite, so that a row of -inf does not turn into nan.
INLINE A shift_of(const T* x, i64 n, i64 inner) {
  A top = -infinity();
  for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
    A v = wide(x[i * inner]);
    top = Max()(top, v);
  }
  top = team_fold(top, Max());
  return is_finite(top) ? top : (A)0;
}

INLINE A exp_sum(const T* x, i64 n, i64 inner, A shift) {
  A total = 0;
  for (i64 i = threadIdx.x; i < n; i += blockDim.x) total += exp(wide(x[i * inner]) - shift);
  return team_fold(total, Sum());
}

KERNEL_OF(1024) softmax(const T* __restrict__ x, T* __restrict__ y, i64 rows, i64 n, i64 inner) {
  i64 row = team_row();
  if (row >= rows) return;
  i64 at = row_start(row, n, inner);
  A shift = shift_of(x + at, n, inner);
  A total = exp_sum(x + at, n, inner, shift);
  if (total == 0) total = 1;
  for (i64 i = threadIdx.x; i < n; i += blockDim.x) y[at + i * inner] = narrow(exp(wide(x[at + i * inner]) - shift) / total);
}

KERNEL_OF(1024) log_softmax(const T* __restrict__ x, T* __restrict__ y, i64 rows, i64 n, i64 inner) {
  i64 row = team_row();
  if (row >= rows) return;
  i64 at = row_start(row, n, inner);
  A shift = shift_of(x + at, n, inner);
  A total = log(exp_sum(x + at, n, inner, shift));
  for (i64 i = threadIdx.x; i < n; i += blockDim.x) y[at + i * inner] = narrow(wide(x[at + i * inner]) - shift - total);
}

KERNEL_OF(1024) softmax_grad(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ gx, i64 rows, i64 n, i64 inner) {
  i64 row = team_row();
  if (row >= rows) return;
  i64 at = row_start(row, n, inner);
  A total = 0;
  for (i64 i = threadIdx.x; i < n; i += blockDim.x) total += wide(g[at + i * inner]) * wide(y[at + i * inner]);
  total = team_fold(total, Sum());
  for (i64 i = threadIdx.x; i < n; i += blockDim.x)
    gx[at + i * inner] = narrow(wide(y[at + i * inner]) * (wide(g[at + i * inner]) - total));
}

KERNEL_OF(1024) log_softmax_grad(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ gx, i64 rows, i64 n, i64 inner) {
  i64 row = team_row();
  if (row >= rows) return;
  i64 at = row_start(row, n, inner);
  A total = 0;
  for (i64 i = threadIdx.x; i < n; i += blockDim.x) total += wide(g[at + i * inner]);
  total = team_fold(total, Sum());
  for (i64 i = threadIdx.x; i < n; i += blockDim.x)
    gx[at + i * inner] = narrow(wide(g[at + i * inner]) - exp(wide(y[at + i * inner])) * total);
}

KERNEL_OF(1024) logsumexp(const T* __restrict__ x, T* __restrict__ y, i64 rows, i64 n, i64 inner) {
  i64 row = team_row();
  if (row >= rows) return;
  i64 at = row_start(row, n, inner);
  A shift = shift_of(x + at, n, inner);
  A total = log(exp_sum(x + at, n, inner, shift)) + shift;
  if (threadIdx.x == 0) y[row] = narrow(total);
}

KERNEL_OF(1024) cross_entropy(const T* __restrict__ logits, const i64* __restrict__ target, T* __restrict__ loss, T* __restrict__ lse,
                     i64 rows, i64 n) {
  i64 row = team_row();
  if (row >= rows) return;
  const T* x = logits + row * n;
  A shift = shift_of(x, n, 1);
  A total = log(exp_sum(x, n, 1, shift)) + shift;
  if (threadIdx.x == 0) {
    lse[row] = narrow(total);
    loss[row] = narrow(total - wide(x[target[row]]));
  }
}

KERNEL_OF(1024) cross_entropy_grad(const T* __restrict__ g, const T* __restrict__ logits, const i64* __restrict__ target,
                          const T* __restrict__ lse, T* __restrict__ gx, i64 rows, i64 n) {
  i64 row = team_row();
  if (row >= rows) return;
  A by = wide(g[row]), shift = wide(lse[row]);
  i64 hot = target[row];
  for (i64 i = threadIdx.x; i < n; i += blockDim.x)
    gx[row * n + i] = narrow(by * (exp(wide(logits[row * n + i]) - shift) - (i == hot ? (A)1 : (A)0)));
}
