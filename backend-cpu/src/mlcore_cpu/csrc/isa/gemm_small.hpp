// Products so small that any preparation would cost more than they do: no packing, no scratch memory, vectors as wide as
// the columns that are left.
#pragma once
#include "gemm_pack.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

template <class T, int L> struct Short {
    typedef T type __attribute__((vector_size(L * sizeof(T))));
    typedef T loose __attribute__((vector_size(L * sizeof(T)), aligned(alignof(T)), may_alias));
};

template <class T>
struct SmallProduct {
    i64 k;
    const T* a;
    i64 a_rs, a_cs;
    const T* b;  // rows with stride one
    i64 b_rs;
    T* c;
    i64 c_rs;
    const T* init;  // one row, or null
};

// R rows and V vectors of L columns of c, from row i and column j on.
template <class T, int L, int R, int V>
INL void small_tile(const SmallProduct<T>& g, i64 i, i64 j) {
    using Vector = typename Short<T, L>::type;
    using Loose = typename Short<T, L>::loose;
    Vector sums[R][V] = {};
    const T *a = g.a + i * g.a_rs, *b = g.b + j;
    for (i64 p = 0; p < g.k; ++p, a += g.a_cs, b += g.b_rs) {
        Vector row[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) row[v] = *reinterpret_cast<const Loose*>(b + v * L);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const T x = a[r * g.a_rs];
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) sums[r][v] += row[v] * x;
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
            if (g.init) sums[r][v] += *reinterpret_cast<const Loose*>(g.init + j + v * L);
            *reinterpret_cast<Loose*>(g.c + (i + r) * g.c_rs + j + v * L) = sums[r][v];
        }
}

// What is left at the end of the rows or columns may be done together with some that are done already: the same values.
template <class T, int L, int V>
void small_columns(const SmallProduct<T>& g, i64 m, i64 j) {
    constexpr int R = V == 1 ? 8 : 4;
    if (m >= R) {
        for (i64 i = 0; i + R <= m; i += R) small_tile<T, L, R, V>(g, i, j);
        const i64 rest = m % R;
        if (rest > R / 2) small_tile<T, L, R, V>(g, m - R, j);
        else if (rest > R / 4) small_tile<T, L, R / 2, V>(g, m - R / 2, j);
        else if (rest) small_tile<T, L, R / 4, V>(g, m - R / 4, j);
        return;
    }
    i64 i = 0;
    if constexpr (R == 8)
        if (m >= 4) small_tile<T, L, 4, V>(g, 0, j), i = 4;
    if (m - i >= 2) small_tile<T, L, 2, V>(g, i, j), i += 2;
    if (m - i >= 1) small_tile<T, L, 1, V>(g, i, j);
}

// Fewer columns than 2 L.
template <class T, int L>
void small_few(const SmallProduct<T>& g, i64 m, i64 n) {
    if constexpr (L > 1)
        if (n < L) return small_few<T, L / 2>(g, m, n);
    small_columns<T, L, 1>(g, m, 0);
    if (n > L) small_columns<T, L, 1>(g, m, n - L);
}

template <class T>
INL void small_direct(const SmallProduct<T>& g, i64 m, i64 n) {
    constexpr int W = Lanes<T>;
    if (n < W) return small_few<T, W / 2>(g, m, n);
    i64 j = 0;
    for (; j + 4 * W <= n; j += 4 * W) small_columns<T, W, 4>(g, m, j);
    for (; j + W <= n; j += W) small_columns<T, W, 1>(g, m, j);
    if (j < n) small_columns<T, W, 1>(g, m, n - W);
}

constexpr i64 SMALL_DEPTH = 256;  // of a b that has to be turned first

template <class T>
void small_product(i64 m, i64 n, i64 k, const char* a, i64 a_rs, i64 a_cs, const char* bv, i64 b_rs, i64 b_cs, char* c,
                   const char* init) {
    const T* b = reinterpret_cast<const T*>(bv);
    SmallProduct<T> g{k, reinterpret_cast<const T*>(a), a_rs, a_cs, b, b_rs, reinterpret_cast<T*>(c), n,
                      reinterpret_cast<const T*>(init)};
    if (b_cs == 1) return small_direct(g, m, n);
    constexpr i64 N = 4 * Lanes<T>;
    alignas(64) T panel[SMALL_DEPTH * N];
    for (i64 j = 0; j < n; j += N) {
        const i64 width = std::min(N, n - j);
        pack_plain<T, T>(b + j * b_cs, b_cs, b_rs, width, width, k, panel);
        g.b = panel, g.b_rs = width;
        small_direct(g, m, width);
        g.c += width;
        if (g.init) g.init += width;
    }
}

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
