// Matrix products on one thread: register tiles over packed panels (Goto and van de Geijn 2008, "Anatomy of
// high-performance matrix multiplication"), and dot products for operands that are a few rows.
//
// This file is compiled with -ffp-contract=fast: a product and its sum are one fused instruction where there is one.
#include "gemm_pack.hpp"
#include "isa_tables.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

// c (R, V vectors) = init + a (R, k) @ b (k, V vectors)
template <class T, int R, int V>
void tile(i64 k, const T* a, i64 a_rs, i64 a_cs, const T* b, i64 b_rs, T* c, i64 c_rs, const T* init, i64 init_rs) {
    constexpr int W = Lanes<T>;
    Vec<T> acc[R][V] = {};
    for (i64 p = 0; p < k; ++p) {
        Vec<T> row[V];
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) row[j] = load(b + j * W);
#pragma GCC unroll 16
        for (int i = 0; i < R; ++i) {
            const T x = a[i * a_rs];
#pragma GCC unroll 8
            for (int j = 0; j < V; ++j) acc[i][j] += row[j] * x;
        }
        a += a_cs;
        b += b_rs;
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) {
            Vec<T> sum = acc[i][j];
            if (init) sum += load(init + i * init_rs + j * W);
            store(c + i * c_rs + j * W, sum);
        }
    }
}
template <class T>
using Tile = void (*)(i64, const T*, i64, i64, const T*, i64, T*, i64, const T*, i64);

template <class T, int V, int... R>
constexpr std::array<Tile<T>, sizeof...(R)> tiles_of(std::integer_sequence<int, R...>) {
    return {&tile<T, R + 1, V>...};
}
// by vectors - 1 and rows - 1
template <class T>
constexpr std::array<Tile<T>, TILE_ROWS> TILES[2] = {tiles_of<T, 1>(std::make_integer_sequence<int, TILE_ROWS>()),
                                                     tiles_of<T, 2>(std::make_integer_sequence<int, TILE_ROWS>())};

// A tile whose last columns do not exist: b is packed, with zeros there.
template <class T>
void narrow_tile(Tile<T> whole, i64 rows, i64 columns, i64 k, const T* a, i64 a_rs, i64 a_cs, const T* b, T* c, i64 c_rs,
                 const T* init, i64 init_rs) {
    constexpr i64 N = Panel<T>;
    alignas(64) T found[TILE_ROWS * N];
    whole(k, a, a_rs, a_cs, b, N, found, N, nullptr, 0);
    for (i64 i = 0; i < rows; ++i) {
        const T* from = found + i * N;
        T* to = c + i * c_rs;
        if (init) {
            const T* base = init + i * init_rs;
            for (i64 j = 0; j < columns; ++j) to[j] = from[j] + base[j];
        } else {
            for (i64 j = 0; j < columns; ++j) to[j] = from[j];
        }
    }
}

// Blocks along k (KC), then rows (MC), columns (a panel of b in L1), rows of a tile.
template <class From, class T>
void block(const GemmBlock& g) {
    constexpr i64 N = Panel<T>, W = Lanes<T>, KC = Depth<T>, MC = RowBlock<T>;
    const From* a = reinterpret_cast<const From*>(g.a);
    const From* b = reinterpret_cast<const From*>(g.b);
    const T* packed_b = reinterpret_cast<const T*>(g.packed_b);
    T* c = reinterpret_cast<T*>(g.c);
    T* packed_a = reinterpret_cast<T*>(g.scratch);
    alignas(64) T panel[KC * N];
    const i64 steps = ceil_div(g.k, KC);
    const i64 depth = steps ? ceil_div(g.k, steps) : 0;
    const T* init = reinterpret_cast<const T*>(g.init);
    i64 init_rs = g.init_rs;
    for (i64 p = 0; p < g.k || p == 0; p += depth) {
        const i64 kc = std::min(depth, g.k - p);
        for (i64 i0 = 0; i0 < g.m; i0 += MC) {
            const i64 mc = std::min(MC, g.m - i0);
            const i64 r = ceil_div(mc, ceil_div(mc, static_cast<i64>(TILE_ROWS)));  // tiles of nearly equal height
            const From* a0 = a + i0 * g.a_rs + p * g.a_cs;
            const bool direct = std::is_same_v<From, T> && direct_a<T>(g, mc);
            if (!direct) {
                for (i64 i = 0; i < mc; i += r)
                    pack<From, T>(a0 + i * g.a_rs, g.a_rs, g.a_cs, std::min(r, mc - i), r, kc, packed_a + i * kc);
            }
            for (i64 j = 0; j < g.n; j += N) {
                const i64 columns = std::min(N, g.n - j);
                const T* bp = panel;
                i64 b_rs = N;
                if (packed_b) {
                    bp = packed_b + p * ceil_div(g.n, N) * N + j * kc;
                } else if (std::is_same_v<From, T> && g.b_cs == 1 && columns % W == 0 && direct_b<T>(g)) {
                    bp = reinterpret_cast<const T*>(b + p * g.b_rs + j);
                    b_rs = g.b_rs;
                } else {
                    pack<From, T>(b + p * g.b_rs + j * g.b_cs, g.b_cs, g.b_rs, columns, N, kc, panel);
                }
                const auto& tiles = TILES<T>[columns > W];
                for (i64 i = 0; i < mc; i += r) {
                    const i64 rows = std::min(r, mc - i);
                    const T* at = direct ? reinterpret_cast<const T*>(a0 + i * g.a_rs) : packed_a + i * kc;
                    const i64 a_rs = direct ? g.a_rs : 1, a_cs = direct ? g.a_cs : r;
                    T* to = c + (i0 + i) * g.c_rs + j;
                    const T* base = init ? init + (i0 + i) * init_rs + j : nullptr;
                    if (columns % W == 0) tiles[rows - 1](kc, at, a_rs, a_cs, bp, b_rs, to, g.c_rs, base, init_rs);
                    else narrow_tile(tiles[rows - 1], rows, columns, kc, at, a_rs, a_cs, bp, to, g.c_rs, base, init_rs);
                }
            }
        }
        init = c;
        init_rs = g.c_rs;
        if (!depth) break;
    }
}

template <class From, class T>
void pack_b(const GemmBlock& g, i64 first, i64 last, char* packed) {
    constexpr i64 N = Panel<T>;
    const From* b = reinterpret_cast<const From*>(g.b);
    const i64 depth = ceil_div(g.k, ceil_div(g.k, Depth<T>)), width = ceil_div(g.n, N) * N;
    for (i64 p = 0; p < g.k; p += depth) {
        const i64 kc = std::min(depth, g.k - p);
        for (i64 j = first; j < last; j += N)
            pack<From, T>(b + p * g.b_rs + j * g.b_cs, g.b_cs, g.b_rs, std::min(N, last - j), N, kc,
                          reinterpret_cast<T*>(packed) + p * width + j * kc);
    }
}
template <class T>
i64 packed_bytes(i64 k, i64 n) {
    return k * ceil_div(n, Panel<T>) * Panel<T> * static_cast<i64>(sizeof(T));
}

// R rows of a with C rows of b, along k.
template <class T, int R, int C>
void dot_tile(i64 k, const T* a, i64 a_rs, const T* b, i64 b_rs, T* sums) {
    constexpr int W = Lanes<T>;
    Vec<T> acc[R][C] = {};
    i64 p = 0;
    for (; p + W <= k; p += W) {
        Vec<T> x[R];
#pragma GCC unroll 8
        for (int i = 0; i < R; ++i) x[i] = load(a + i * a_rs + p);
#pragma GCC unroll 8
        for (int j = 0; j < C; ++j) {
            const Vec<T> y = load(b + j * b_rs + p);
#pragma GCC unroll 8
            for (int i = 0; i < R; ++i) acc[i][j] += x[i] * y;
        }
    }
    for (int i = 0; i < R; ++i)
        for (int j = 0; j < C; ++j) {
            T rest = 0;
            for (i64 q = p; q < k; ++q) rest += a[i * a_rs + q] * b[j * b_rs + q];
            sums[i * C + j] = add_up<T>(acc[i][j]) + rest;
        }
}

template <class T, int R>
void dot_rows(i64 n, i64 k, const T* a, i64 a_rs, const T* b, i64 b_rs, T* c, i64 c_rs, i64 c_cs, const T* init, i64 init_rs,
              i64 init_cs) {
    constexpr int C = R == 1 ? 8 : 4;
    T sums[R * C];
    auto keep = [&](i64 j, int columns) {
        for (int i = 0; i < R; ++i)
            for (int l = 0; l < columns; ++l)
                c[i * c_rs + (j + l) * c_cs] = sums[i * columns + l] + (init ? init[i * init_rs + (j + l) * init_cs] : T(0));
    };
    i64 j = 0;
    for (; j + C <= n; j += C) {
        dot_tile<T, R, C>(k, a, a_rs, b + j * b_rs, b_rs, sums);
        keep(j, C);
    }
    for (; j < n; ++j) {
        dot_tile<T, R, 1>(k, a, a_rs, b + j * b_rs, b_rs, sums);
        keep(j, 1);
    }
}

template <class T>
void dots(i64 m, i64 n, i64 k, const char* av, i64 a_rs, const char* bv, i64 b_rs, char* cv, i64 c_rs, i64 c_cs, const char* iv,
          i64 init_rs, i64 init_cs) {
    const T* b = reinterpret_cast<const T*>(bv);
    for (i64 i = 0; i < m;) {
        const T* a = reinterpret_cast<const T*>(av) + i * a_rs;
        T* c = reinterpret_cast<T*>(cv) + i * c_rs;
        const T* init = iv ? reinterpret_cast<const T*>(iv) + i * init_rs : nullptr;
        const i64 rows = std::min<i64>(4, m - i);
        switch (rows) {
            case 1: dot_rows<T, 1>(n, k, a, a_rs, b, b_rs, c, c_rs, c_cs, init, init_rs, init_cs); break;
            case 2: dot_rows<T, 2>(n, k, a, a_rs, b, b_rs, c, c_rs, c_cs, init, init_rs, init_cs); break;
            case 3: dot_rows<T, 3>(n, k, a, a_rs, b, b_rs, c, c_rs, c_cs, init, init_rs, init_cs); break;
            default: dot_rows<T, 4>(n, k, a, a_rs, b, b_rs, c, c_rs, c_cs, init, init_rs, init_cs);
        }
        i += rows;
    }
}

template <class From, class T, int IN, int ACC>
constexpr GemmKernel kernel() {
    GemmKernel k{IN, ACC, TILE_ROWS, Panel<T>, &block<From, T>, &pack_b<From, T>, &packed_bytes<T>, nullptr};
    if constexpr (std::is_same_v<From, T> && std::is_floating_point_v<T>) k.dots = &dots<T>;
    return k;
}

}  // namespace

const GemmTable* gemm_table() {
    static const GemmKernel f32 = kernel<float, float, F32, F32>(), f64 = kernel<double, double, F64, F64>();
    static const GemmKernel f16 = kernel<Half, float, F16, F32>(), bf16 = kernel<Brain, float, BF16, F32>();
    static const GemmKernel i8 = kernel<std::int8_t, std::int32_t, I8, I32>(), u8 = kernel<std::uint8_t, std::int32_t, U8, I32>();
    static const GemmKernel i16 = kernel<std::int16_t, std::int32_t, I16, I32>();
    static const GemmKernel u16 = kernel<std::uint16_t, std::int32_t, U16, I32>();
    static const GemmKernel i32 = kernel<std::int32_t, std::int32_t, I32, I32>();
    static const GemmKernel u32 = kernel<std::uint32_t, std::int32_t, U32, I32>();
    static const GemmKernel i64_ = kernel<std::int64_t, std::int64_t, I64, I64>();
    static const GemmKernel u64 = kernel<std::uint64_t, std::int64_t, U64, I64>();
    static const GemmTable table{{nullptr, &i8, &i16, &i32, &i64_, &u8, &u16, &u32, &u64, &f16, &bf16, &f32, &f64}};
    return &table;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
