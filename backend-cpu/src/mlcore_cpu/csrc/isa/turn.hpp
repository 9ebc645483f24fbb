// Rows become columns, four at a time, or sixteen with AVX-512.
#pragma once
#include <algorithm>
#include <cstdint>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "../common.hpp"

#ifndef INL
#define INL inline __attribute__((always_inline))
#endif

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

// Four rows of x as columns r to r + 3 of y: y[c * ld + r] = x[r * rs + c]. Rows that do not exist are others again.
// Rows are far apart: those `ahead` elements from these are asked for now, they come next.
template <class T>
INL void transpose_4(const T* const (&x)[4], i64 columns, T* __restrict y, i64 ld, i64 ahead) {
    typedef std::uint32_t V __attribute__((vector_size(16)));
    typedef std::uint32_t L __attribute__((vector_size(16), aligned(4), may_alias));
    for (i64 c = 0; c + 4 <= columns; c += 4, y += 4 * ld) {
        if (c % 16 == 0) for (const T* row : x) __builtin_prefetch(row + ahead + c);
        const V a = *reinterpret_cast<const L*>(x[0] + c), b = *reinterpret_cast<const L*>(x[1] + c);
        const V d = *reinterpret_cast<const L*>(x[2] + c), e = *reinterpret_cast<const L*>(x[3] + c);
        const V ab0 = __builtin_shuffle(a, b, V{0, 4, 1, 5}), ab1 = __builtin_shuffle(a, b, V{2, 6, 3, 7});
        const V de0 = __builtin_shuffle(d, e, V{0, 4, 1, 5}), de1 = __builtin_shuffle(d, e, V{2, 6, 3, 7});
        *reinterpret_cast<L*>(y) = __builtin_shuffle(ab0, de0, V{0, 1, 4, 5});
        *reinterpret_cast<L*>(y + ld) = __builtin_shuffle(ab0, de0, V{2, 3, 6, 7});
        *reinterpret_cast<L*>(y + 2 * ld) = __builtin_shuffle(ab1, de1, V{0, 1, 4, 5});
        *reinterpret_cast<L*>(y + 3 * ld) = __builtin_shuffle(ab1, de1, V{2, 3, 6, 7});
    }
}

#if defined(__AVX512F__)
// Sixteen rows of x as columns of y, sixteen elements of each at a time; the next sixteen rows are asked for.
template <class T>
void transpose_16(const T* x, i64 rs, i64 columns, T* __restrict y, i64 ld) {
    const float* row[16];
    for (int r = 0; r < 16; ++r) row[r] = reinterpret_cast<const float*>(x + r * rs);
    float* to = reinterpret_cast<float*>(y);
    for (i64 c = 0; c + 16 <= columns; c += 16, to += 16 * ld) {
        __m512 part[4][4], turned[16];  // part[g][i]: in lane l, the rows 4 g to 4 g + 3 of column 4 l + i
#pragma GCC unroll 4
        for (int g = 0; g < 4; ++g) {
            for (int i = 0; i < 4; ++i) __builtin_prefetch(row[4 * g + i] + 16 * rs + c);
            const __m512 a = _mm512_loadu_ps(row[4 * g] + c), b = _mm512_loadu_ps(row[4 * g + 1] + c);
            const __m512 d = _mm512_loadu_ps(row[4 * g + 2] + c), e = _mm512_loadu_ps(row[4 * g + 3] + c);
            const __m512d ab0 = _mm512_castps_pd(_mm512_unpacklo_ps(a, b)), ab1 = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
            const __m512d de0 = _mm512_castps_pd(_mm512_unpacklo_ps(d, e)), de1 = _mm512_castps_pd(_mm512_unpackhi_ps(d, e));
            part[g][0] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab0, de0)), part[g][1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab0, de0));
            part[g][2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab1, de1)), part[g][3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab1, de1));
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            const __m512 p = _mm512_shuffle_f32x4(part[0][i], part[1][i], 0x44), q = _mm512_shuffle_f32x4(part[2][i], part[3][i], 0x44);
            const __m512 u = _mm512_shuffle_f32x4(part[0][i], part[1][i], 0xee), v = _mm512_shuffle_f32x4(part[2][i], part[3][i], 0xee);
            turned[i] = _mm512_shuffle_f32x4(p, q, 0x88), turned[4 + i] = _mm512_shuffle_f32x4(p, q, 0xdd);
            turned[8 + i] = _mm512_shuffle_f32x4(u, v, 0x88), turned[12 + i] = _mm512_shuffle_f32x4(u, v, 0xdd);
        }
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) _mm512_storeu_ps(to + i * ld, turned[i]);
    }
}
#endif

// y[c * ld + r] = x[r * rs + c]
template <class T>
INL void transpose(const T* __restrict x, i64 rs, i64 rows, i64 columns, T* __restrict y, i64 ld) {
    i64 r = 0;
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        if (columns % 16 == 0)
            for (; r + 16 <= rows; r += 16) transpose_16(x + r * rs, rs, columns, y + r, ld);
    }
#endif
    if constexpr (sizeof(T) == 4) {
        // The last one to three rows first, as four: what they write too much, into the next column, is written over.
        const i64 rest = rows % 4, fast = columns / 4 * 4 - 4;
        if (rest && r == 0 && ld == rows && rows > 4 && fast > 0) {
            const T* from = x + (rows - rest) * rs;
            const T* const four[4] = {from, from + std::min<i64>(1, rest - 1) * rs, from + std::min<i64>(2, rest - 1) * rs, from};
            transpose_4(four, fast, y + rows - rest, ld, rest * rs);
            for (i64 i = rows - rest; i < rows; ++i)
                for (i64 c = fast; c < columns; ++c) y[c * ld + i] = x[i * rs + c];
            rows -= rest;
        }
        for (; r + 4 <= rows; r += 4) {
            const T* from = x + r * rs;
            const T* const four[4] = {from, from + rs, from + 2 * rs, from + 3 * rs};
            transpose_4(four, columns, y + r, ld, 4 * rs);
            for (i64 c = columns / 4 * 4; c < columns; ++c)
                for (int i = 0; i < 4; ++i) y[c * ld + r + i] = from[i * rs + c];
        }
    } else if constexpr (sizeof(T) == 8) {
        typedef std::uint64_t V __attribute__((vector_size(16)));
        typedef std::uint64_t L __attribute__((vector_size(16), aligned(8), may_alias));
        for (; r + 2 <= rows; r += 2) {
            const T* from = x + r * rs;
            T* to = y + r;
            i64 c = 0;
            for (; c + 2 <= columns; c += 2, from += 2, to += 2 * ld) {
                const V a = *reinterpret_cast<const L*>(from), b = *reinterpret_cast<const L*>(from + rs);
                *reinterpret_cast<L*>(to) = __builtin_shuffle(a, b, V{0, 2});
                *reinterpret_cast<L*>(to + ld) = __builtin_shuffle(a, b, V{1, 3});
            }
            for (; c < columns; ++c, ++from, to += ld) {
                to[0] = from[0];
                to[1] = from[rs];
            }
        }
    }
    for (; r < rows; ++r)
        for (i64 c = 0; c < columns; ++c) y[c * ld + r] = x[r * rs + c];
}

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
