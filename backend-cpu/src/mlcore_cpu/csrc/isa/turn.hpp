// Rows become columns, four at a time.
#pragma once
#include <algorithm>
#include <cstdint>

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

// y[c * ld + r] = x[r * rs + c]
template <class T>
INL void transpose(const T* __restrict x, i64 rs, i64 rows, i64 columns, T* __restrict y, i64 ld) {
    i64 r = 0;
    if constexpr (sizeof(T) == 4) {
        // The last one to three rows first, as four: what they write too much, into the next column, is written over.
        const i64 rest = rows % 4, fast = columns / 4 * 4 - 4;
        if (rest && ld == rows && rows > 4 && fast > 0) {
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
