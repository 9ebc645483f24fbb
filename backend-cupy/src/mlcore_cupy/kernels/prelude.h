// What the kernels are written against: one source for CUDA (NVRTC), HIP (HIPRTC, clang) and the tests' emulator,
// which defines MLCORE_EMULATED and brings the same names itself. A module defines ELEMENT first.
#if defined(MLCORE_EMULATED)
#include "emulator.h"
#elif defined(__HIP__) || defined(__HIPCC_RTC__) || defined(__HIPCC__)
#define MLCORE_HIP 1
#if !defined(__HIPCC_RTC__)
#include <hip/hip_runtime.h>
#endif
#define SHUFFLE_XOR(v, mask) __shfl_xor(v, mask, 32)
#else
#define MLCORE_CUDA 1
#define SHUFFLE_XOR(v, mask) __shfl_xor_sync(0xffffffffu, v, mask, 32)
#endif

#if !defined(MLCORE_EMULATED)
#define DYNAMIC_SHARED(name) extern __shared__ double name[]
#endif

#define KERNEL extern "C" __global__ void
#define KERNEL_OF(threads) extern "C" __global__ void __launch_bounds__(threads)
#define INLINE static __device__ __forceinline__
#define INLINE_MEMBER __device__ __forceinline__

typedef long long i64;
typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;

struct half16 { u16 bits; };
struct brain16 { u16 bits; };

// -- 16-bit floats: computed in float, rounded once -----------------------------------------------------------

INLINE u32 float_bits(float x) { union { float f; u32 u; } v; v.f = x; return v.u; }
INLINE float bits_float(u32 x) { union { float f; u32 u; } v; v.u = x; return v.f; }

INLINE float wide(float x) { return x; }
INLINE double wide(double x) { return x; }
INLINE float wide(brain16 x) { return bits_float((u32)x.bits << 16); }

#if defined(MLCORE_CUDA)
INLINE float wide(half16 x) { float y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits)); return y; }
INLINE u16 half_bits(float x) { u16 y; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x)); return y; }
#elif defined(MLCORE_HIP)
INLINE float wide(half16 x) { union { u16 u; _Float16 h; } v; v.u = x.bits; return (float)v.h; }
INLINE u16 half_bits(float x) { union { u16 u; _Float16 h; } v; v.h = (_Float16)x; return v.u; }
#else
INLINE float wide(half16 x) { return emulated_half_to_float(x.bits); }
INLINE u16 half_bits(float x) { return emulated_float_to_half(x); }
#endif

INLINE u16 brain_bits(float x) {
  u32 b = float_bits(x);
  if ((b & 0x7fffffffu) > 0x7f800000u) return (u16)((b >> 16) | 0x40u);  // nan stays nan
  return (u16)((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
}

template <class Out> struct Narrow { template <class V> static INLINE_MEMBER Out of(V x) { return (Out)x; } };
template <> struct Narrow<half16> { static INLINE_MEMBER half16 of(float x) { half16 y; y.bits = half_bits(x); return y; } };
template <> struct Narrow<brain16> { static INLINE_MEMBER brain16 of(float x) { brain16 y; y.bits = brain_bits(x); return y; } };

template <class In> struct Wider { typedef float type; };
template <> struct Wider<double> { typedef double type; };
typedef ELEMENT T;
typedef Wider<T>::type A;  // what sums of T are kept in

INLINE T narrow(A x) { return Narrow<T>::of(x); }

// -- numbers ---------------------------------------------------------------------------------------------------

INLINE A infinity() { return (A)bits_float(0x7f800000u); }
INLINE bool is_nan(A x) { return x != x; }
INLINE bool is_finite(A x) { return x - x == (A)0; }

struct Sum { INLINE_MEMBER A operator()(A a, A b) const { return a + b; } };
struct Max { INLINE_MEMBER A operator()(A a, A b) const { return a > b ? a : b; } };  // passes over nan

// Windows over one to three trailing dimensions, as three: sizes of the input, the output and the window, strides,
// padding before, and dilation.
struct Window { int x[3], y[3], k[3], s[3], p[3], d[3]; };

// -- folding over the threads of a team: blockDim.x of them, 32 or the whole block ---------------------------

template <class F> INLINE A team_fold(A v, F f) {
  for (int mask = 16; mask > 0; mask >>= 1) v = f(v, SHUFFLE_XOR(v, mask));
  if (blockDim.x > 32) {
    __shared__ A parts[32];
    __syncthreads();  // whoever still reads the last fold's parts
    if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = v;
    __syncthreads();
    v = parts[0];
    for (unsigned i = 1; i < blockDim.x / 32; i++) v = f(v, parts[i]);
  }
  return v;
}

// The row of a team: blockDim.y teams a block.
INLINE i64 team_row() { return (i64)blockIdx.x * blockDim.y + threadIdx.y; }
