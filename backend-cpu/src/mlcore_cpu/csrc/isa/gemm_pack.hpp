// Vectors of the instruction set at hand, the sizes of tiles, and packing: any layout into panels for the tiles.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "../gemm.hpp"
#include "half.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, TILE_ROWS = 12;  // 24 sums, 2 of b and some of a in 32 registers
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32, TILE_ROWS = 6;
#else
constexpr int VECTOR_BYTES = 16, TILE_ROWS = 6;
#endif

template <class T> constexpr int Lanes = VECTOR_BYTES / sizeof(T);
template <class T> constexpr i64 Panel = 2 * Lanes<T>;
template <class T> constexpr i64 Depth = 256;                   // a panel of b: 32 KiB of L1 with AVX-512
template <class T> constexpr i64 RowBlock = 264;                // rows of a that stay in L2 (264 KiB of float32)
static_assert(RowBlock<double> * Depth<double> * sizeof(double) <= GEMM_SCRATCH);

template <class T> struct VecOf {
    typedef T type __attribute__((vector_size(VECTOR_BYTES)));
    typedef T loose __attribute__((vector_size(VECTOR_BYTES), aligned(alignof(T)), may_alias));
};
template <class T> using Vec = typename VecOf<T>::type;

template <class T>
INL Vec<T> load(const T* p) { return *reinterpret_cast<const typename VecOf<T>::loose*>(p); }
template <class T>
INL void store(T* p, Vec<T> v) { *reinterpret_cast<typename VecOf<T>::loose*>(p) = v; }

template <class V, int... I>
INL auto halves_added(V v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, I...) + __builtin_shufflevector(v, v, (I + static_cast<int>(sizeof...(I)))...);
}
template <class T, int N = Lanes<T>, class V>
INL T add_up(V v) {
    if constexpr (N == 2) return v[0] + v[1];
    else return add_up<T, N / 2>(halves_added(v, std::make_integer_sequence<int, N / 2>()));
}

// Whether tiles may read an operand where it lies: packing pays where it is read often enough.
template <class T>
INL bool direct_a(const GemmBlock& g, i64 rows) {
    const i64 bytes = g.a_rs * static_cast<i64>(sizeof(T));
    if (g.a_cs == 1 && rows > 4 && bytes % 1024 == 0)  // rows that evict each other from L1
        return g.n <= 2 * Panel<T>;
    return g.n <= 4 * Panel<T>;
}
template <class T>
INL bool direct_b(const GemmBlock& g) { return g.m <= 6 * TILE_ROWS; }

struct Half { std::uint16_t bits; };
struct Brain { std::uint16_t bits; };

template <class From, class T>
INL void convert_row(const From* x, i64 n, T* y) {
    if constexpr (std::is_same_v<From, Half>) f16_to_f32(x, y, n);
    else if constexpr (std::is_same_v<From, Brain>) bf16_to_f32(x, y, n);
    else
        for (i64 i = 0; i < n; ++i) y[i] = static_cast<T>(x[i]);
}

// y[c * ld + r] = x[r * rs + c]
template <class T>
INL void transpose(const T* __restrict x, i64 rs, i64 rows, i64 columns, T* __restrict y, i64 ld) {
    i64 r = 0;
    if constexpr (sizeof(T) == 4) {
        typedef std::uint32_t V __attribute__((vector_size(16)));
        typedef std::uint32_t L __attribute__((vector_size(16), aligned(4), may_alias));
        for (; r + 4 <= rows; r += 4) {
            const T* from = x + r * rs;
            T* to = y + r;
            i64 c = 0;
            for (; c + 4 <= columns; c += 4, from += 4, to += 4 * ld) {
                const V a = *reinterpret_cast<const L*>(from), b = *reinterpret_cast<const L*>(from + rs);
                const V d = *reinterpret_cast<const L*>(from + 2 * rs), e = *reinterpret_cast<const L*>(from + 3 * rs);
                const V ab0 = __builtin_shuffle(a, b, V{0, 4, 1, 5}), ab1 = __builtin_shuffle(a, b, V{2, 6, 3, 7});
                const V de0 = __builtin_shuffle(d, e, V{0, 4, 1, 5}), de1 = __builtin_shuffle(d, e, V{2, 6, 3, 7});
                *reinterpret_cast<L*>(to) = __builtin_shuffle(ab0, de0, V{0, 1, 4, 5});
                *reinterpret_cast<L*>(to + ld) = __builtin_shuffle(ab0, de0, V{2, 3, 6, 7});
                *reinterpret_cast<L*>(to + 2 * ld) = __builtin_shuffle(ab1, de1, V{0, 1, 4, 5});
                *reinterpret_cast<L*>(to + 3 * ld) = __builtin_shuffle(ab1, de1, V{2, 3, 6, 7});
            }
            for (; c < columns; ++c, ++from, to += ld)
                for (int i = 0; i < 4; ++i) to[i] = from[i * rs];
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

// y[p * ld + j] = x[j * stride + p * k_stride] for j < width; zero from there to ld.
template <class From, class T>
void pack_plain(const From* x, i64 stride, i64 k_stride, i64 width, i64 ld, i64 k, T* y) {
    if (width < ld) {
        for (i64 p = 0; p < k; ++p)
            for (i64 j = width; j < ld; ++j) y[p * ld + j] = T(0);
    }
    if (stride == 1 || width == 1) {
        for (i64 p = 0; p < k; ++p) convert_row<From, T>(x + p * k_stride, width, y + p * ld);
    } else if (k_stride == 1 || k == 1) {
        if constexpr (std::is_same_v<From, T>) {
            transpose(x, stride, width, k, y, ld);
        } else {
            constexpr i64 STEP = 64;
            T rows[2 * VECTOR_BYTES / 4 * STEP];
            for (i64 p = 0; p < k; p += STEP) {
                const i64 n = std::min(STEP, k - p);
                for (i64 j = 0; j < width; ++j) convert_row<From, T>(x + j * stride + p, n, rows + j * STEP);
                transpose(rows, STEP, width, n, y + p * ld, ld);
            }
        }
    } else {
        for (i64 p = 0; p < k; ++p)
            for (i64 j = 0; j < width; ++j) convert_row<From, T>(x + j * stride + p * k_stride, 1, y + p * ld + j);
    }
}

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
