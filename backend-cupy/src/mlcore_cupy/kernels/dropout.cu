// Dropout in one pass: the mask is drawn where it is used, from Threefry-2x32 (Salmon et al. 2011), 20 rounds.

INLINE u32 turned(u32 x, int by) { return (x << by) | (x >> (32 - by)); }

INLINE u32 threefry(u32 k0, u32 k1, u64 counter) {
  const int turns[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  u32 keys[3] = {k0, k1, k0 ^ k1 ^ 0x1BD11BDAu};
  u32 a = (u32)(counter >> 32) + k0, b = (u32)counter + k1;
#pragma unroll
  for (int block = 0; block < 5; block++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      a += b;
      b = turned(b, turns[block & 1][i]) ^ a;
    }
    a += keys[(block + 1) % 3];
    b += keys[(block + 2) % 3] + (u32)(block + 1);
  }
  return a ^ b;
}

KERNEL dropout(const T* __restrict__ x, T* __restrict__ y, i64 total, u32 k0, u32 k1, u64 offset, u32 least, double scale) {
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += (i64)gridDim.x * blockDim.x)
    y[i] = (threefry(k0, k1, offset + (u64)i) >> 8) >= least ? narrow(wide(x[i]) * (A)scale) : narrow((A)0);
}
