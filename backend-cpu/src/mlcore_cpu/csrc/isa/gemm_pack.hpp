// Vectors of the instruction set at hand, the sizes of tiles, and packing: any layout into panels for the tiles.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "../gemm.hpp"
#include "half.hpp"
#include "turn.hpp"

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

// y[p * ld + j] = x[j * stride + p * k_stride] for j < width; zero from there to ld.
template <class From, class T>
void pack_plain(const From* x, i64 stride, i64 k_stride, i64 width, i64 ld, i64 k, T* y) {
    if (width < ld) {
        for (i64 p = 0; p < k; ++p)
            for (i64 j = width; j < ld; ++j) y[p * ld + j] = T(0);
    }
    if (stride == 1 || width == 1) {
        constexpr i64 W = Lanes<T>, AHEAD = 8;  // rows are far apart: the processor does not see them coming
        const bool far = width > 1 && k_stride * static_cast<i64>(sizeof(From)) >= 512;
        for (i64 p = 0; p < k; ++p) {
            const From* from = x + p * k_stride;
            if (far)
                for (i64 line = 0; line < width; line += 64 / static_cast<i64>(sizeof(From))) __builtin_prefetch(from + AHEAD * k_stride + line);
            if constexpr (std::is_same_v<From, T>) {
                if (width == 2 * W) {
                    store(y + p * ld, load(from));
                    store(y + p * ld + W, load(from + W));
                    continue;
                }
            }
            convert_row<From, T>(from, width, y + p * ld);
        }
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

// The first n (less than 16) values: by powers of two, which compile to one move each.
template <class T>
INL void copy_first(T* to, const T* from, i64 n) {
    if (n & 8) std::memcpy(to, from, 8 * sizeof(T)), to += 8, from += 8;
    if (n & 4) std::memcpy(to, from, 4 * sizeof(T)), to += 4, from += 4;
    if (n & 2) std::memcpy(to, from, 2 * sizeof(T)), to += 2, from += 2;
    if (n & 1) *to = *from;
}

// x (k, m) with rows `k_stride` apart as tiles of `height` columns, each (k, height): y[t * height * k + p * height + i] =
// x[p * k_stride + t * height + i]; zero where the last tile is too high. Whole vectors are copied: what a tile gets too
// much is written over by its next row. Rows are far apart, so the processor does not see them coming.
template <class T>
void pack_tiles(const T* x, i64 k_stride, i64 m, i64 height, i64 k, T* y) {
    constexpr i64 W = Lanes<T>, V = ceil_div(static_cast<i64>(TILE_ROWS), W), TOGETHER = 8, AHEAD = 8;
    const i64 exact = std::max<i64>(0, k - ceil_div(V * W, height));  // rows from which nothing may be written too much
    for (i64 first = 0; first < m; first += TOGETHER * height) {
        const i64 last = std::min(m, first + TOGETHER * height);
        for (i64 p = 0; p < k; ++p) {
            const T* from = x + p * k_stride;
            T* to = y + first * k + p * height;
            for (i64 line = first; line < last; line += 64 / static_cast<i64>(sizeof(T))) __builtin_prefetch(from + AHEAD * k_stride + line);
            for (i64 i = first; i < last; i += height, to += height * k) {
                if (p < exact && i + V * W <= m) {
                    for (i64 v = 0; v < V; ++v) store(to + v * W, load(from + i + v * W));
                } else {
                    const i64 n = std::min(height, m - i);
                    copy_first(to, from + i, n);
                    for (i64 j = n; j < height; ++j) to[j] = T(0);
                }
            }
        }
    }
}

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
