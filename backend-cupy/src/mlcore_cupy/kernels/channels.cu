// Batch norm of (N, C, S): a channel's values are cut into `splits` pieces, a block each; pieces are joined in order,
// so the result does not depend on how blocks are scheduled. `how`: 0 no activation, 1 relu, 2 relu6.

INLINE A followed(A y, int how) {
  if (how >= 1) y = y > 0 || is_nan(y) ? y : (A)0;
  if (how == 2) y = y < 6 || is_nan(y) ? y : (A)6;
  return y;
}

INLINE bool open_at(A y, int how) { return how == 0 || (y > 0 && (how == 1 || y < 6)); }

INLINE i64 element(i64 i, i64 channel, i64 channels, i64 size) { return (i / size * channels + channel) * size + i % size; }

// Of each piece: its mean, and the sum of squared distances from it.
KERNEL batch_stats(const T* __restrict__ x, A* __restrict__ parts, i64 count, i64 channels, i64 size, i64 piece) {
  i64 channel = blockIdx.x, from = (i64)blockIdx.y * piece, to = from + piece < count ? from + piece : count;
  A total = 0, square = 0;
  for (i64 i = from + threadIdx.x; i < to; i += blockDim.x) total += wide(x[element(i, channel, channels, size)]);
  A centre = team_fold(total, Sum()) / (A)(to - from);
  for (i64 i = from + threadIdx.x; i < to; i += blockDim.x) {
    A d = wide(x[element(i, channel, channels, size)]) - centre;
    square += d * d;
  }
  square = team_fold(square, Sum());
  if (threadIdx.x == 0) {
    parts[(channel * gridDim.y + blockIdx.y) * 2] = centre;
    parts[(channel * gridDim.y + blockIdx.y) * 2 + 1] = square;
  }
}

KERNEL batch_stats_join(const A* __restrict__ parts, T* __restrict__ mean, T* __restrict__ rstd, A* __restrict__ exact,
                        i64 count, i64 channels, i64 piece, i64 splits, double eps) {
  i64 channel = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (channel >= channels) return;
  A centre = 0, square = 0, seen = 0;
  for (i64 i = 0; i < splits; i++) {
    A n = (A)((i + 1) * piece < count ? piece : count - i * piece);
    A d = parts[(channel * splits + i) * 2] - centre;
    square += parts[(channel * splits + i) * 2 + 1] + d * d * (seen * n / (seen + n));
    centre += d * (n / (seen + n));
    seen += n;
  }
  A scale = (A)1 / sqrt(square / (A)count + (A)eps);
  mean[channel] = narrow(centre);
  rstd[channel] = narrow(scale);
  exact[channel * 2] = centre;
  exact[channel * 2 + 1] = scale;
}

KERNEL batch_apply(const T* __restrict__ x, const A* __restrict__ exact, const T* weight, const T* bias, T* __restrict__ y,
                   i64 total, i64 channels, i64 size, int how) {
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += (i64)gridDim.x * blockDim.x) {
    i64 channel = i / size % channels;
    A v = (wide(x[i]) - exact[channel * 2]) * exact[channel * 2 + 1];
    if (weight) v *= wide(weight[channel]);
    if (bias) v += wide(bias[channel]);
    y[i] = narrow(followed(v, how));
  }
}

// By given statistics; the variance is not negative.
KERNEL batch_scale(const T* __restrict__ x, const T* __restrict__ mean, const T* __restrict__ var, const T* weight,
                   const T* bias, T* __restrict__ y, i64 total, i64 channels, i64 size, double eps, int how) {
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += (i64)gridDim.x * blockDim.x) {
    i64 channel = i / size % channels;
    A scale = (A)1 / sqrt(wide(var[channel]) + (A)eps);
    if (weight) scale *= wide(weight[channel]);
    A shift = (bias ? wide(bias[channel]) : (A)0) - wide(mean[channel]) * scale;
    y[i] = narrow(followed(wide(x[i]) * scale + shift, how));
  }
}

// The gradient that passes the activation, and the normalised value.
INLINE A passed(const T* g, const T* x, const T* weight, const T* bias, A centre, A scale, i64 at, i64 channel, int how, A* normal) {
  *normal = (wide(x[at]) - centre) * scale;
  if (how == 0) return wide(g[at]);
  A y = *normal;
  if (weight) y *= wide(weight[channel]);
  if (bias) y += wide(bias[channel]);
  return open_at(y, how) ? wide(g[at]) : (A)0;
}

KERNEL batch_grad_sums(const T* __restrict__ g, const T* __restrict__ x, const T* weight, const T* bias,
                       const T* __restrict__ mean, const T* __restrict__ rstd, A* __restrict__ parts, i64 count,
                       i64 channels, i64 size, i64 piece, int how) {
  i64 channel = blockIdx.x, from = (i64)blockIdx.y * piece, to = from + piece < count ? from + piece : count;
  A centre = wide(mean[channel]), scale = wide(rstd[channel]), along = 0, plain = 0;
  for (i64 i = from + threadIdx.x; i < to; i += blockDim.x) {
    A normal;
    A v = passed(g, x, weight, bias, centre, scale, element(i, channel, channels, size), channel, how, &normal);
    along += v * normal;
    plain += v;
  }
  along = team_fold(along, Sum());
  plain = team_fold(plain, Sum());
  if (threadIdx.x == 0) {
    parts[(channel * gridDim.y + blockIdx.y) * 2] = along;
    parts[(channel * gridDim.y + blockIdx.y) * 2 + 1] = plain;
  }
}

KERNEL batch_grad_join(const A* __restrict__ parts, T* __restrict__ gw, T* __restrict__ gb, A* __restrict__ exact,
                       i64 channels, i64 splits) {
  i64 channel = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (channel >= channels) return;
  A along = 0, plain = 0;
  for (i64 i = 0; i < splits; i++) {
    along += parts[(channel * splits + i) * 2];
    plain += parts[(channel * splits + i) * 2 + 1];
  }
  gw[channel] = narrow(along);
  gb[channel] = narrow(plain);
  exact[channel * 2] = along;
  exact[channel * 2 + 1] = plain;
}

KERNEL batch_grad_apply(const T* __restrict__ g, const T* __restrict__ x, const T* weight, const T* bias,
                        const T* __restrict__ mean, const T* __restrict__ rstd, const A* __restrict__ exact,
                        T* __restrict__ gx, i64 total, i64 count, i64 channels, i64 size, int how) {
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += (i64)gridDim.x * blockDim.x) {
    i64 channel = i / size % channels;
    A normal, scale = wide(rstd[channel]);
    A v = passed(g, x, weight, bias, wide(mean[channel]), scale, i, channel, how, &normal);
    if (weight) scale *= wide(weight[channel]);
    gx[i] = narrow(scale * (v - (exact[channel * 2 + 1] + normal * exact[channel * 2]) / (A)count));
  }
}
