// Attention in tiles of QUERIES x KEYS, so that the matrix of scores never exists in memory (Dao et al. 2022): the
// softmax is kept running, and one number a row, the logarithm of its divisor, is enough to compute weights again.
//
// q (B, n, d), k (B, m, d), v (B, m, e), contiguous; `mask` with strides (batch, row, key) in elements, 0 where it
// broadcasts: kind 1 is bool, true where attention is allowed, kind 2 is added to the scores. Threads: 128.

#define QUERIES 16
#define KEYS 16
#define THREADS 128

#define SHAPES i64 n, i64 m, int d, int e, double scale_, int causal, int kind, const void* mask, i64 mb, i64 mr, i64 mk

INLINE A masked(A score, i64 batch, i64 row, i64 key, int causal, int kind, const void* mask, i64 mb, i64 mr, i64 mk) {
  if (causal && key > row) score = -infinity();
  i64 at = batch * mb + row * mr + key * mk;
  if (kind == 1) return ((const unsigned char*)mask)[at] ? score : -infinity();
  return kind == 2 ? score + wide(((const T*)mask)[at]) : score;
}

// Copy up to `count` rows of width w into shared memory; what is beyond is 0.
INLINE void load_rows(A* to, const T* from, i64 first, i64 limit, int count, int w) {
  for (int i = threadIdx.x; i < count * w; i += THREADS)
    to[i] = first + i / w < limit ? wide(from[first * w + i]) : (A)0;
}

INLINE A dot(const A* a, const A* b, int w) {
  A sum = 0;
  for (int i = 0; i < w; i++) sum += a[i] * b[i];
  return sum;
}

KERNEL_OF(THREADS) attention(const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
                                             T* __restrict__ y, A* __restrict__ lse, SHAPES) {
  DYNAMIC_SHARED(dynamic_memory);
  A* qs = (A*)dynamic_memory;
  A* ks = qs + QUERIES * d;
  A* vs = ks + KEYS * d;
  A* acc = vs + KEYS * e;
  __shared__ A weights[QUERIES][KEYS + 1];
  __shared__ A top[QUERIES], total[QUERIES], fade[QUERIES];
  i64 batch = blockIdx.y, row0 = (i64)blockIdx.x * QUERIES;
  A scale = (A)scale_;
  load_rows(qs, q + batch * n * d, row0, n, QUERIES, d);
  for (int i = threadIdx.x; i < QUERIES * e; i += THREADS) acc[i] = 0;
  if (threadIdx.x < QUERIES) {
    top[threadIdx.x] = -infinity();
    total[threadIdx.x] = 0;
  }
  i64 end = causal && row0 + QUERIES < m ? row0 + QUERIES : m;
  for (i64 key0 = 0; key0 < end; key0 += KEYS) {
    __syncthreads();
    load_rows(ks, k + batch * m * d, key0, m, KEYS, d);
    load_rows(vs, v + batch * m * e, key0, m, KEYS, e);
    __syncthreads();
    for (int i = threadIdx.x; i < QUERIES * KEYS; i += THREADS) {
      int r = i / KEYS, c = i % KEYS;
      i64 row = row0 + r, key = key0 + c;
      weights[r][c] = row < n && key < m
          ? masked(dot(qs + r * d, ks + c * d, d) * scale, batch, row, key, causal, kind, mask, mb, mr, mk)
          : -infinity();
    }
    __syncthreads();
    if (threadIdx.x < QUERIES) {
      int r = threadIdx.x;
      A high = top[r], sum = 0;
      for (int c = 0; c < KEYS; c++) high = Max()(high, weights[r][c]);
      A shift = is_finite(high) ? high : (A)0;
      A old = top[r] == high ? (A)1 : exp(top[r] - shift);
      for (int c = 0; c < KEYS; c++) {
        A p = exp(weights[r][c] - shift);
        weights[r][c] = p;
        sum += p;
      }
      fade[r] = old;
      total[r] = total[r] * old + sum;
      top[r] = high;
    }
    __syncthreads();
    int keys = m - key0 < KEYS ? (int)(m - key0) : KEYS;
    for (int i = threadIdx.x; i < QUERIES * e; i += THREADS) {
      int r = i / e, c = i % e;
      A sum = fade[r] == 1 ? acc[i] : acc[i] * fade[r];
      for (int j = 0; j < keys; j++) sum += weights[r][j] * vs[j * e + c];
      acc[i] = sum;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < QUERIES * e; i += THREADS) {
    i64 row = row0 + i / e;
    A by = total[i / e] == 0 ? (A)1 : total[i / e];
    if (row < n) y[(batch * n + row) * e + i % e] = narrow(acc[i] / by);
  }
  if (threadIdx.x < QUERIES && row0 + threadIdx.x < n) {
    A shift = is_finite(top[threadIdx.x]) ? top[threadIdx.x] : (A)0;
    lse[batch * n + row0 + threadIdx.x] = log(total[threadIdx.x]) + shift;
  }
}

// sum(g * y) of each row; a thread a row.
KERNEL attention_inner(const T* __restrict__ g, const T* __restrict__ y, A* __restrict__ inner, i64 rows, int e) {
  i64 row = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  A sum = 0;
  for (int i = 0; i < e; i++) sum += wide(g[row * e + i]) * wide(y[row * e + i]);
  inner[row] = sum;
}

// The weights of a tile, and the gradient of its scores; rows and keys that are not there get 0.
#define WEIGHTS_AND_SLOPES                                                                                     \
  for (int i = threadIdx.x; i < QUERIES * KEYS; i += THREADS) {                                                \
    int r = i / KEYS, c = i % KEYS;                                                                            \
    i64 row = row0 + r, key = key0 + c;                                                                        \
    A p = 0, slope = 0;                                                                                        \
    if (row < n && key < m && !(causal && key > row)) {                                                        \
      A at = lse[batch * n + row], shift = is_finite(at) ? at : (A)0;                                          \
      p = exp(masked(dot(qs + r * d, ks + c * d, d) * scale, batch, row, key, 0, kind, mask, mb, mr, mk) - shift); \
      slope = p * (dot(gs + r * e, vs + c * e, e) - inner[batch * n + row]);                                   \
    }                                                                                                          \
    weights[r][c] = p;                                                                                         \
    slopes[r][c] = slope;                                                                                      \
  }

#define TILES                                   \
  DYNAMIC_SHARED(dynamic_memory);               \
  A* qs = (A*)dynamic_memory;                   \
  A* ks = qs + QUERIES * d;                     \
  A* vs = ks + KEYS * d;                        \
  A* gs = vs + KEYS * e;                        \
  A* acc = gs + QUERIES * e;                    \
  __shared__ A weights[QUERIES][KEYS + 1];      \
  __shared__ A slopes[QUERIES][KEYS + 1];       \
  A scale = (A)scale_;                          \
  i64 batch = blockIdx.y

KERNEL_OF(THREADS) attention_grad_queries(const T* __restrict__ g, const T* __restrict__ q, const T* __restrict__ k,
                                                          const T* __restrict__ v, const A* __restrict__ lse,
                                                          const A* __restrict__ inner, T* __restrict__ gq, SHAPES) {
  TILES;
  i64 row0 = (i64)blockIdx.x * QUERIES;
  load_rows(qs, q + batch * n * d, row0, n, QUERIES, d);
  load_rows(gs, g + batch * n * e, row0, n, QUERIES, e);
  for (int i = threadIdx.x; i < QUERIES * d; i += THREADS) acc[i] = 0;
  i64 end = causal && row0 + QUERIES < m ? row0 + QUERIES : m;
  for (i64 key0 = 0; key0 < end; key0 += KEYS) {
    __syncthreads();
    load_rows(ks, k + batch * m * d, key0, m, KEYS, d);
    load_rows(vs, v + batch * m * e, key0, m, KEYS, e);
    __syncthreads();
    WEIGHTS_AND_SLOPES
    __syncthreads();
    for (int i = threadIdx.x; i < QUERIES * d; i += THREADS)
      for (int c = 0; c < KEYS; c++) acc[i] += slopes[i / d][c] * ks[c * d + i % d];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < QUERIES * d; i += THREADS)
    if (row0 + i / d < n) gq[(batch * n + row0) * d + i] = narrow(acc[i] * scale);
}

KERNEL_OF(THREADS) attention_grad_keys(const T* __restrict__ g, const T* __restrict__ q, const T* __restrict__ k,
                                                       const T* __restrict__ v, const A* __restrict__ lse,
                                                       const A* __restrict__ inner, T* __restrict__ gk, T* __restrict__ gv, SHAPES) {
  TILES;
  A* acc_v = acc + KEYS * d;
  i64 key0 = (i64)blockIdx.x * KEYS;
  load_rows(ks, k + batch * m * d, key0, m, KEYS, d);
  load_rows(vs, v + batch * m * e, key0, m, KEYS, e);
  for (int i = threadIdx.x; i < KEYS * d; i += THREADS) acc[i] = 0;
  for (int i = threadIdx.x; i < KEYS * e; i += THREADS) acc_v[i] = 0;
  for (i64 row0 = causal ? key0 / QUERIES * QUERIES : 0; row0 < n; row0 += QUERIES) {
    __syncthreads();
    load_rows(qs, q + batch * n * d, row0, n, QUERIES, d);
    load_rows(gs, g + batch * n * e, row0, n, QUERIES, e);
    __syncthreads();
    WEIGHTS_AND_SLOPES
    __syncthreads();
    for (int i = threadIdx.x; i < KEYS * d; i += THREADS)
      for (int r = 0; r < QUERIES; r++) acc[i] += slopes[r][i / d] * qs[r * d + i % d];
    for (int i = threadIdx.x; i < KEYS * e; i += THREADS)
      for (int r = 0; r < QUERIES; r++) acc_v[i] += weights[r][i / e] * gs[r * e + i % e];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < KEYS * d; i += THREADS)
    if (key0 + i / d < m) gk[(batch * m + key0) * d + i] = narrow(acc[i] * scale);
  for (int i = threadIdx.x; i < KEYS * e; i += THREADS)
    if (key0 + i / e < m) gv[(batch * m + key0) * e + i] = narrow(acc_v[i]);
}
