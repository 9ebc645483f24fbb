// Convolution and its two gradients as one tiled matrix product, whose operands are gathered from the tensors while
// tiles are loaded (implicit GEMM): nothing is unfolded in memory. One to three dimensions, as three.
//
// rows x columns, summed over depth:
//   forward   output channels of a group x (image, output position), over (input channel, kernel position)
//   data      input channels of a group  x (image, input position),  over (output channel, kernel position)
//   weights   output channels of a group x (input channel, kernel position), over (image, output position)

#define TILE 64
#define DEPTH 16
#define THREADS 256

struct Shape {
  int images, groups, ic, oc;  // channels are those of one group
  Window at;
};


INLINE i64 product(const int* sizes) { return (i64)sizes[0] * sizes[1] * sizes[2]; }

// A shape, and what follows from it and is needed all the time.
struct Problem : Shape {
  i64 in_size, out_size, taps;
  INLINE_MEMBER Problem(const Shape& shape)
      : Shape(shape), in_size(product(at.x)), out_size(product(at.y)), taps(product(at.k)) {}
};

INLINE void apart(i64 at, const int* sizes, int* found) {
  found[2] = (int)(at % sizes[2]);
  found[1] = (int)(at / sizes[2] % sizes[1]);
  found[0] = (int)(at / ((i64)sizes[2] * sizes[1]));
}

// Where output position `out` finds its input under kernel position `tap`; -1 in the padding.
INLINE i64 input_place(const Problem& c, i64 out, i64 tap) {
  int o[3], t[3];
  i64 at = 0;
  apart(out, c.at.y, o);
  apart(tap, c.at.k, t);
#pragma unroll
  for (int i = 0; i < 3; i++) {
    int place = o[i] * c.at.s[i] - c.at.p[i] + t[i] * c.at.d[i];
    if (place < 0 || place >= c.at.x[i]) return -1;
    at = at * c.at.x[i] + place;
  }
  return at;
}

// The output position that saw input position `in` under kernel position `tap`; -1 if none did.
INLINE i64 output_place(const Problem& c, i64 in, i64 tap) {
  int x[3], t[3];
  i64 at = 0;
  apart(in, c.at.x, x);
  apart(tap, c.at.k, t);
#pragma unroll
  for (int i = 0; i < 3; i++) {
    int place = x[i] + c.at.p[i] - t[i] * c.at.d[i];
    if (place < 0 || place % c.at.s[i] || place / c.at.s[i] >= c.at.y[i]) return -1;
    at = at * c.at.y[i] + place / c.at.s[i];
  }
  return at;
}

struct Forward {
  Problem c; const T* x; const T* w; int group;
  INLINE_MEMBER i64 rows() const { return c.oc; }
  INLINE_MEMBER i64 columns() const { return c.images * c.out_size; }
  INLINE_MEMBER i64 depth() const { return c.ic * c.taps; }
  INLINE_MEMBER A left(i64 row, i64 k) const { return wide(w[((i64)group * c.oc + row) * c.ic * c.taps + k]); }
  INLINE_MEMBER A right(i64 k, i64 column) const {
    i64 place = input_place(c, column % c.out_size, k % c.taps);
    i64 channel = (column / c.out_size * c.groups + group) * c.ic + k / c.taps;
    return place < 0 ? (A)0 : wide(x[channel * c.in_size + place]);
  }
};

struct Data {
  Problem c; const T* g; const T* w; int group;
  INLINE_MEMBER i64 rows() const { return c.ic; }
  INLINE_MEMBER i64 columns() const { return c.images * c.in_size; }
  INLINE_MEMBER i64 depth() const { return c.oc * c.taps; }
  INLINE_MEMBER A left(i64 row, i64 k) const {
    return wide(w[(((i64)group * c.oc + k / c.taps) * c.ic + row) * c.taps + k % c.taps]);
  }
  INLINE_MEMBER A right(i64 k, i64 column) const {
    i64 place = output_place(c, column % c.in_size, k % c.taps);
    i64 channel = (column / c.in_size * c.groups + group) * c.oc + k / c.taps;
    return place < 0 ? (A)0 : wide(g[channel * c.out_size + place]);
  }
};

struct Weights {
  Problem c; const T* g; const T* x; int group;
  INLINE_MEMBER i64 rows() const { return c.oc; }
  INLINE_MEMBER i64 columns() const { return c.ic * c.taps; }
  INLINE_MEMBER i64 depth() const { return c.images * c.out_size; }
  INLINE_MEMBER A left(i64 row, i64 k) const {
    return wide(g[((k / c.out_size * c.groups + group) * c.oc + row) * c.out_size + k % c.out_size]);
  }
  INLINE_MEMBER A right(i64 k, i64 column) const {
    i64 place = input_place(c, k % c.out_size, column % c.taps);
    i64 channel = (k / c.out_size * c.groups + group) * c.ic + column / c.taps;
    return place < 0 ? (A)0 : wide(x[channel * c.in_size + place]);
  }
};

// One tile of the product, from depth `from` to `to`; each thread holds 4 x 4 of it.
template <class Operands> INLINE void tile(const Operands& of, i64 row0, i64 column0, i64 from, i64 to, A (&sums)[4][4]) {
  __shared__ A left[DEPTH][TILE + 1];
  __shared__ A right[DEPTH][TILE + 1];
  int thread = threadIdx.x, tr = thread / 16, tc = thread % 16;
  for (i64 k0 = from; k0 < to; k0 += DEPTH) {
    for (int i = thread; i < TILE * DEPTH; i += THREADS) {
      int k = i % DEPTH, r = i / DEPTH, c = i % TILE, q = i / TILE;
      left[k][r] = row0 + r < of.rows() && k0 + k < to ? of.left(row0 + r, k0 + k) : (A)0;
      right[q][c] = column0 + c < of.columns() && k0 + q < to ? of.right(k0 + q, column0 + c) : (A)0;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < DEPTH; k++)
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) sums[i][j] += left[k][tr + 16 * i] * right[k][tc + 16 * j];
    __syncthreads();
  }
}

INLINE A activated(A y, int how) {
  if (how >= 1) y = y > 0 || is_nan(y) ? y : (A)0;
  if (how == 2) y = y < 6 || is_nan(y) ? y : (A)6;
  return y;
}

#define EACH_SUM(of, row0, column0)                                                                     \
  for (int i = 0; i < 4; i++)                                                                           \
    for (int j = 0; j < 4; j++)                                                                         \
      for (i64 row = row0 + threadIdx.x / 16 + 16 * i, column = column0 + threadIdx.x % 16 + 16 * j, once = 1; \
           once && row < of.rows() && column < of.columns(); once = 0)

// Bias, then a scale and a shift for each channel and an activation, where given, before the result is written.
KERNEL_OF(THREADS) convolution(const T* __restrict__ x, const T* __restrict__ w, const T* bias, const T* scale,
                                               const T* shift, T* __restrict__ y, int how, Shape shape) {
  Forward of = {Problem(shape), x, w, (int)blockIdx.z};
  A sums[4][4] = {};
  i64 row0 = (i64)blockIdx.y * TILE, column0 = (i64)blockIdx.x * TILE;
  tile(of, row0, column0, 0, of.depth(), sums);
  EACH_SUM(of, row0, column0) {
    i64 channel = of.group * (i64)of.c.oc + row, size = of.c.out_size;
    A v = sums[i][j];
    if (bias) v += wide(bias[channel]);
    if (scale) v = v * wide(scale[channel]) + wide(shift[channel]);
    y[(column / size * of.c.groups * of.c.oc + channel) * size + column % size] = narrow(activated(v, how));
  }
}

KERNEL_OF(THREADS) convolution_data(const T* __restrict__ g, const T* __restrict__ w, T* __restrict__ gx, Shape shape) {
  Data of = {Problem(shape), g, w, (int)blockIdx.z};
  A sums[4][4] = {};
  i64 row0 = (i64)blockIdx.y * TILE, column0 = (i64)blockIdx.x * TILE;
  tile(of, row0, column0, 0, of.depth(), sums);
  EACH_SUM(of, row0, column0) {
    i64 channel = of.group * (i64)of.c.ic + row, size = of.c.in_size;
    gx[(column / size * of.c.groups * of.c.ic + channel) * size + column % size] = narrow(sums[i][j]);
  }
}

// The depth, images times positions, is cut into pieces: parts (splits, all weights), which `join_splits` adds up.
KERNEL_OF(THREADS) convolution_weights(const T* __restrict__ g, const T* __restrict__ x, A* __restrict__ parts,
                                                       i64 piece, int splits, Shape shape) {
  Weights of = {Problem(shape), g, x, (int)blockIdx.z / splits};
  A sums[4][4] = {};
  i64 row0 = (i64)blockIdx.y * TILE, column0 = (i64)blockIdx.x * TILE, split = blockIdx.z % splits;
  i64 from = split * piece, to = from + piece < of.depth() ? from + piece : of.depth();
  tile(of, row0, column0, from, to, sums);
  EACH_SUM(of, row0, column0) {
    parts[(split * of.c.groups * of.c.oc + of.group * (i64)of.c.oc + row) * of.columns() + column] = sums[i][j];
  }
}

KERNEL join_splits(const A* __restrict__ parts, T* __restrict__ gw, i64 total, int splits) {
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += (i64)gridDim.x * blockDim.x) {
    A sum = 0;
    for (int s = 0; s < splits; s++) sum += parts[s * total + i];
    gw[i] = narrow(sum);
  }
}
