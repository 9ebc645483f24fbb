// Small matrix products inside other kernels (recurrent steps, blocks of attention): register tiles over a right
// operand that was packed into panels. One thread; every element is added up in the order of k.
#pragma once
#include "loops.hpp"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, TILE_ROWS = 8;
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32, TILE_ROWS = 6;
#else
constexpr int VECTOR_BYTES = 16, TILE_ROWS = 4;
#endif
template <class T> struct Vector { typedef T type __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias)); };
template <class T> using vec = typename Vector<T>::type;
template <class T> constexpr int WIDTH = VECTOR_BYTES / static_cast<int>(sizeof(T));
template <class T> constexpr int PANEL = 2 * WIDTH<T>;  // columns of a packed panel

#if defined(__AVX512F__)
INL __m512 fused(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
INL __m512d fused(__m512d a, __m512d b, __m512d c) { return _mm512_fmadd_pd(a, b, c); }
using VecF = __m512; using VecD = __m512d;
#elif defined(__AVX2__)
INL __m256 fused(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
INL __m256d fused(__m256d a, __m256d b, __m256d c) { return _mm256_fmadd_pd(a, b, c); }
using VecF = __m256; using VecD = __m256d;
#else
typedef float VecF __attribute__((vector_size(16)));
typedef double VecD __attribute__((vector_size(16)));
INL VecF fused(VecF a, VecF b, VecF c) { return a * b + c; }
INL VecD fused(VecD a, VecD b, VecD c) { return a * b + c; }
#endif
template <class T> struct Register;
template <> struct Register<float> { using type = VecF; };
template <> struct Register<double> { using type = VecD; };
template <class T> using reg = typename Register<T>::type;

template <class T> INL reg<T> load(const T* p) { return reg<T>(*reinterpret_cast<const vec<T>*>(p)); }
template <class T> INL void store(T* p, reg<T> v) { *reinterpret_cast<vec<T>*>(p) = vec<T>(v); }
template <class T> INL reg<T> spread(T x) { return reg<T>(vec<T>{} + x); }

// How many values b (k, n) takes when packed.
template <class T> constexpr i64 packed_size(i64 k, i64 n) { return ceil_div(n, PANEL<T>) * PANEL<T> * k; }

// b (k, n) with strides in elements, into panels of PANEL columns, each (k, PANEL); zeros beyond n.
template <class T>
void pack_panels(const T* b, i64 rs, i64 cs, i64 k, i64 n, T* to) {
    for (i64 j = 0; j < n; j += PANEL<T>) {
        const i64 width = n - j < PANEL<T> ? n - j : PANEL<T>;
        for (i64 p = 0; p < k; ++p, to += PANEL<T>) {
            const T* from = b + p * rs + j * cs;
            if (cs == 1 && width == PANEL<T>) std::memcpy(to, from, sizeof(T) * PANEL<T>);
            else {
                for (i64 i = 0; i < width; ++i) to[i] = from[i * cs];
                for (i64 i = width; i < PANEL<T>; ++i) to[i] = T(0);
            }
        }
    }
}

// R rows of c (R, PANEL) = a (R, k) @ panel (k, PANEL) [+ c]; only `width` columns exist.
template <class T, int R>
INL void tile(i64 k, const T* a, i64 ars, i64 acs, const T* panel, T* c, i64 ldc, i64 width, bool add) {
    constexpr int W = WIDTH<T>;
    reg<T> x[R], y[R];
    T edge[PANEL<T>];
    for (int r = 0; r < R; ++r) {
        if (!add) {
            x[r] = y[r] = spread<T>(T(0));
        } else if (width == PANEL<T>) {
            x[r] = load(c + r * ldc), y[r] = load(c + r * ldc + W);
        } else {
            for (i64 i = 0; i < PANEL<T>; ++i) edge[i] = i < width ? c[r * ldc + i] : T(0);
            x[r] = load(edge), y[r] = load(edge + W);
        }
    }
    for (i64 p = 0; p < k; ++p, panel += PANEL<T>, a += acs) {
        const reg<T> left = load(panel), right = load(panel + W);
        for (int r = 0; r < R; ++r) {
            const reg<T> one = spread<T>(a[r * ars]);
            x[r] = fused(one, left, x[r]);
            y[r] = fused(one, right, y[r]);
        }
    }
    for (int r = 0; r < R; ++r) {
        if (width == PANEL<T>) {
            store(c + r * ldc, x[r]), store(c + r * ldc + W, y[r]);
        } else {
            store(edge, x[r]), store(edge + W, y[r]);
            for (i64 i = 0; i < width; ++i) c[r * ldc + i] = edge[i];
        }
    }
}

template <class T>
void tile_rows(i64 rows, i64 k, const T* a, i64 ars, i64 acs, const T* panel, T* c, i64 ldc, i64 width, bool add) {
    switch (rows) {
        case 1: return tile<T, 1>(k, a, ars, acs, panel, c, ldc, width, add);
        case 2: return tile<T, 2>(k, a, ars, acs, panel, c, ldc, width, add);
        case 3: return tile<T, 3>(k, a, ars, acs, panel, c, ldc, width, add);
        case 4: return tile<T, 4>(k, a, ars, acs, panel, c, ldc, width, add);
#if defined(__AVX2__)
        case 5: return tile<T, 5>(k, a, ars, acs, panel, c, ldc, width, add);
        case 6: return tile<T, 6>(k, a, ars, acs, panel, c, ldc, width, add);
#endif
#if defined(__AVX512F__)
        case 7: return tile<T, 7>(k, a, ars, acs, panel, c, ldc, width, add);
        case 8: return tile<T, 8>(k, a, ars, acs, panel, c, ldc, width, add);
#endif
    }
}

// c (m, n) = a (m, k) @ b (k, n) [+ c]: `packed` is b as pack_panels lays it out, a has any strides.
template <class T>
void multiply(i64 m, i64 n, i64 k, const T* a, i64 ars, i64 acs, const T* packed, T* c, i64 ldc, bool add) {
    for (i64 j = 0; j < n; j += PANEL<T>, packed += k * PANEL<T>) {
        const i64 width = n - j < PANEL<T> ? n - j : PANEL<T>;
        for (i64 i = 0; i < m; i += TILE_ROWS)
            tile_rows<T>(m - i < TILE_ROWS ? m - i : TILE_ROWS, k, a + i * ars, ars, acs, packed, c + i * ldc + j, ldc, width, add);
    }
}

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
