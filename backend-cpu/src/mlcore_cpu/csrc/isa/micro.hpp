// Small matrix products inside other kernels (recurrent steps, blocks of attention): register tiles over a right
// operand that was packed into panels. One thread; every element is added up in the order of k.
#pragma once
#include "loops.hpp"
#include "turn.hpp"
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
INL __m512 spread(float x) { return _mm512_set1_ps(x); }
INL __m512d spread(double x) { return _mm512_set1_pd(x); }
using VecF = __m512; using VecD = __m512d;
#elif defined(__AVX2__)
INL __m256 fused(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
INL __m256d fused(__m256d a, __m256d b, __m256d c) { return _mm256_fmadd_pd(a, b, c); }
INL __m256 spread(float x) { return _mm256_set1_ps(x); }
INL __m256d spread(double x) { return _mm256_set1_pd(x); }
using VecF = __m256; using VecD = __m256d;
#else
typedef float VecF __attribute__((vector_size(16)));
typedef double VecD __attribute__((vector_size(16)));
INL VecF spread(float x) { return VecF{x, x, x, x}; }
INL VecD spread(double x) { return VecD{x, x}; }
INL VecF fused(VecF a, VecF b, VecF c) { return a * b + c; }
INL VecD fused(VecD a, VecD b, VecD c) { return a * b + c; }
#endif
template <class T> struct Register;
template <> struct Register<float> { using type = VecF; };
template <> struct Register<double> { using type = VecD; };
template <class T> using reg = typename Register<T>::type;

template <class T> INL reg<T> load(const T* p) { return reg<T>(*reinterpret_cast<const vec<T>*>(p)); }
template <class T> INL void store(T* p, reg<T> v) { *reinterpret_cast<vec<T>*>(p) = vec<T>(v); }

// How many values b (k, n) takes when packed.
template <class T> constexpr i64 packed_size(i64 k, i64 n) { return ceil_div(n, PANEL<T>) * PANEL<T> * k; }

// b (k, n) with strides in elements, into panels of PANEL columns, each (k, PANEL); zeros beyond n.
template <class T>
void pack_panels(const T* b, i64 rs, i64 cs, i64 k, i64 n, T* to) {
    for (i64 j = 0; j < n; j += PANEL<T>, to += k * PANEL<T>) {
        const i64 width = n - j < PANEL<T> ? n - j : PANEL<T>;
        const T* from = b + j * cs;
        if (width < PANEL<T>) {
            for (i64 p = 0; p < k; ++p)
                for (i64 i = width; i < PANEL<T>; ++i) to[p * PANEL<T> + i] = T(0);
        }
        if (cs == 1) {
            for (i64 p = 0; p < k; ++p) {
                if (width == PANEL<T>) std::memcpy(to + p * PANEL<T>, from + p * rs, sizeof(T) * PANEL<T>);
                else for (i64 i = 0; i < width; ++i) to[p * PANEL<T> + i] = from[p * rs + i];
            }
        } else if (rs == 1) {
            transpose(from, cs, width, k, to, PANEL<T>);
        } else {
            for (i64 p = 0; p < k; ++p)
                for (i64 i = 0; i < width; ++i) to[p * PANEL<T> + i] = from[p * rs + i * cs];
        }
    }
}

// Rows of a left factor: a (rows, k) with strides in elements.
template <class T>
struct Left {
    const T* a;
    i64 rs, cs, k;
};

// R rows of sums, two registers wide, += a (R, k) @ panel (k, PANEL)
template <class T, int R>
INL void add_products(const Left<T>& left, i64 row, const T* panel, reg<T>* x, reg<T>* y) {
    const T* a = left.a + row * left.rs;
    for (i64 p = 0; p < left.k; ++p, panel += PANEL<T>, a += left.cs) {
        const reg<T> first = load(panel), second = load(panel + WIDTH<T>);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const reg<T> one = spread(a[r * left.rs]);
            x[r] = fused(one, first, x[r]);
            y[r] = fused(one, second, y[r]);
        }
    }
}

// R rows of sums to c (R, PANEL), of which `width` columns exist.
template <class T, int R>
INL void put_tile(const reg<T>* x, const reg<T>* y, T* c, i64 ldc, i64 width) {
    T edge[PANEL<T>];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        if (width == PANEL<T>) {
            store(c + r * ldc, x[r]), store(c + r * ldc + WIDTH<T>, y[r]);
        } else {
            store(edge, x[r]), store(edge + WIDTH<T>, y[r]);
            for (i64 i = 0; i < width; ++i) c[r * ldc + i] = edge[i];
        }
    }
}

// R rows of c (R, PANEL) = a (R, k) @ panel (k, PANEL) [+ c]; only `width` columns exist.
template <class T, int R>
void tile(const Left<T>& left, i64 row, const T* panel, T* c, i64 ldc, i64 width, bool add) {
    constexpr int W = WIDTH<T>;
    reg<T> x[R], y[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        if (!add) {
            x[r] = y[r] = spread(T(0));
        } else if (width == PANEL<T>) {
            x[r] = load(c + r * ldc), y[r] = load(c + r * ldc + W);
        } else {
            T edge[PANEL<T>];
            for (i64 i = 0; i < PANEL<T>; ++i) edge[i] = i < width ? c[r * ldc + i] : T(0);
            x[r] = load(edge), y[r] = load(edge + W);
        }
    }
    add_products<T, R>(left, row, panel, x, y);
    put_tile<T, R>(x, y, c, ldc, width);
}

// R rows of c (R, PANEL) = bias + a (R, k) @ panel + b (R, l) @ the panel behind it; `bias` has PANEL values.
template <class T, int R>
void tile_of_two(const Left<T>& a, const Left<T>& b, i64 row, const T* panel, const T* bias, T* c, i64 ldc, i64 width) {
    reg<T> x[R], y[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) x[r] = load(bias), y[r] = load(bias + WIDTH<T>);
    add_products<T, R>(a, row, panel, x, y);
    add_products<T, R>(b, row, panel + a.k * PANEL<T>, x, y);
    put_tile<T, R>(x, y, c, ldc, width);
}

// f(std::integral_constant<int, rows>), 0 < rows <= TILE_ROWS
template <class F>
INL void with_rows(i64 rows, F f) {
    switch (rows) {
        case 1: return f(std::integral_constant<int, 1>());
        case 2: return f(std::integral_constant<int, 2>());
        case 3: return f(std::integral_constant<int, 3>());
        case 4: return f(std::integral_constant<int, 4>());
#if defined(__AVX2__)
        case 5: return f(std::integral_constant<int, 5>());
        case 6: return f(std::integral_constant<int, 6>());
#endif
#if defined(__AVX512F__)
        case 7: return f(std::integral_constant<int, 7>());
        case 8: return f(std::integral_constant<int, 8>());
#endif
    }
}

// c (m, n) = a (m, k) @ b (k, n) [+ c]: `packed` is b as pack_panels lays it out, a has any strides.
template <class T>
void multiply(i64 m, i64 n, i64 k, const T* a, i64 ars, i64 acs, const T* packed, T* c, i64 ldc, bool add) {
    const Left<T> left{a, ars, acs, k};
    for (i64 j = 0; j < n; j += PANEL<T>, packed += k * PANEL<T>) {
        const i64 width = n - j < PANEL<T> ? n - j : PANEL<T>;
        for (i64 i = 0; i < m; i += TILE_ROWS)
            with_rows(m - i < TILE_ROWS ? m - i : TILE_ROWS,
                      [&](auto rows) { tile<T, decltype(rows)::value>(left, i, packed, c + i * ldc + j, ldc, width, add); });
    }
}

// c (m, n) = bias + a @ (the first rows of b) + d @ (the others): `packed` has both parts of a panel one behind the other.
template <class T>
void multiply_two(i64 m, i64 n, const Left<T>& a, const Left<T>& d, const T* packed, const T* bias, T* c, i64 ldc, i64 depth) {
    for (i64 j = 0; j < n; j += PANEL<T>, packed += depth * PANEL<T>) {
        const i64 width = n - j < PANEL<T> ? n - j : PANEL<T>;
        for (i64 i = 0; i < m; i += TILE_ROWS)
            with_rows(m - i < TILE_ROWS ? m - i : TILE_ROWS, [&](auto rows) {
                tile_of_two<T, decltype(rows)::value>(a, d, i, packed, bias + j, c + i * ldc + j, ldc, width);
            });
    }
}

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
