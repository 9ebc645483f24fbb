// The product of a block on one thread, for any way to multiply and add: register tiles over packed panels (Goto and
// van de Geijn 2008, "Anatomy of high-performance matrix multiplication").
//
// A `Way` says what is read (From), what a panel holds (Unit: one element, or PER neighbours along k in 32 bits), what
// is added up (Sum), and how: mac(sums, units of b, one unit of a). SHIFTED: `pack` adds a constant to a, and `shift` says
// what the sums over a panel of b start from instead of zero.
#pragma once
#include <cmath>

#include "../convolution.hpp"
#include "gemm_pack.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

template <class FromType, class T>
struct Plain {
    using From = FromType;
    using Unit = T;
    using Sum = T;
    static constexpr i64 PER = 1;
    static constexpr bool SHIFTED = false;
    static INL void mac(Vec<T>& sum, Vec<T> b, T a) { sum += b * a; }
    static void pack(const From* x, i64 stride, i64 k_stride, i64 width, i64 ld, i64 k, T* y, bool) {
        pack_plain<From, T>(x, stride, k_stride, width, ld, k, y);
    }
};

// A Finish for the columns of one panel, without cases: those that do not exist are there too.
template <class T>
struct PanelFinish {
    T scale[Panel<T>], shift[Panel<T>], low, high;
    INL T of(T v, i64 j) const {
        v = v * scale[j] + shift[j];
        v = low > v ? low : v;
        return high < v ? high : v;
    }
};
template <class T>
INL void make(const Finish& f, i64 first, i64 columns, PanelFinish<T>& to) {
    for (i64 j = 0; j < Panel<T>; ++j) {
        to.scale[j] = f.scale && j < columns ? static_cast<T>(f.scale[first + j]) : T(1);
        to.shift[j] = f.shift && j < columns ? static_cast<T>(f.shift[first + j]) : T(0);
    }
    to.low = f.bounded ? static_cast<T>(f.low) : -static_cast<T>(INFINITY);
    to.high = f.bounded ? static_cast<T>(f.high) : static_cast<T>(INFINITY);
}

// c (R, V vectors) = init + a (R, k) @ b (k, V vectors), finished
template <class Way, int R, int V>
void tile(i64 k, const typename Way::Unit* a, i64 a_rs, i64 a_cs, const typename Way::Unit* b, i64 b_rs, typename Way::Sum* c,
          i64 c_rs, const typename Way::Sum* init, i64 init_rs, const PanelFinish<typename Way::Unit>* finish) {
    using Unit = typename Way::Unit;
    using Sum = typename Way::Sum;
    constexpr int W = Lanes<Unit>;
    Vec<Sum> acc[R][V] = {};
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i)  // what is added to at the end is here by then
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) __builtin_prefetch(c + i * c_rs + j * W, 1);
    for (i64 p = 0; p < k; ++p) {
        Vec<Unit> row[V];
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) row[j] = load(b + j * W);
#pragma GCC unroll 16
        for (int i = 0; i < R; ++i) {
            const Unit x = a[i * a_rs];
#pragma GCC unroll 8
            for (int j = 0; j < V; ++j) Way::mac(acc[i][j], row[j], x);
        }
        a += a_cs;
        b += b_rs;
    }
    if constexpr (std::is_same_v<Sum, float> && std::is_same_v<Unit, float>) {
        if (finish) {
            const Vec<Sum> low = Vec<Sum>{} + finish->low, high = Vec<Sum>{} + finish->high;
#pragma GCC unroll 8
            for (int j = 0; j < V; ++j) {
                const Vec<Sum> scale = load(finish->scale + j * W), shift = load(finish->shift + j * W);
#pragma GCC unroll 16
                for (int i = 0; i < R; ++i) {
                    Vec<Sum> sum = acc[i][j];
                    if (init) sum += load(init + i * init_rs + j * W);
                    sum = sum * scale + shift;
                    sum = low > sum ? low : sum;
                    store(c + i * c_rs + j * W, high < sum ? high : sum);
                }
            }
            return;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) {
            Vec<Sum> sum = acc[i][j];
            if (init) sum += load(init + i * init_rs + j * W);
            store(c + i * c_rs + j * W, sum);
        }
    }
}
template <class Way>
using Tile = void (*)(i64, const typename Way::Unit*, i64, i64, const typename Way::Unit*, i64, typename Way::Sum*, i64,
                      const typename Way::Sum*, i64, const PanelFinish<typename Way::Unit>*);

template <class Way, int V, int... R>
constexpr std::array<Tile<Way>, sizeof...(R)> tiles_of(std::integer_sequence<int, R...>) {
    return {&tile<Way, R + 1, V>...};
}
// by vectors - 1 and rows - 1
template <class Way>
constexpr std::array<Tile<Way>, TILE_ROWS> TILES[2] = {tiles_of<Way, 1>(std::make_integer_sequence<int, TILE_ROWS>()),
                                                       tiles_of<Way, 2>(std::make_integer_sequence<int, TILE_ROWS>())};

// A tile whose last columns do not exist: b is packed, with zeros there.
template <class Way, class Unit = typename Way::Unit, class Sum = typename Way::Sum>
void narrow_tile(Tile<Way> whole, i64 rows, i64 columns, i64 k, const Unit* a, i64 a_rs, i64 a_cs, const Unit* b, Sum* c, i64 c_rs,
                 const Sum* init, i64 init_rs, const PanelFinish<Unit>* finish) {
    constexpr i64 N = Panel<Unit>, W = Lanes<Unit>;
    alignas(64) Sum found[TILE_ROWS * N], base[N];
    const bool row = init && init_rs == 0;
    if (row) std::copy(init, init + columns, base);
    whole(k, a, a_rs, a_cs, b, N, found, N, row ? base : nullptr, 0, init && !row ? nullptr : finish);
    for (i64 i = 0; i < rows; ++i) {
        const Sum* from = found + i * N;
        Sum* to = c + i * c_rs;
        if (init && !row) {
            for (i64 j = 0; j < columns; ++j) {
                to[j] = from[j] + init[i * init_rs + j];
                if constexpr (std::is_same_v<Sum, float> && std::is_same_v<Unit, float>)
                    if (finish) to[j] = finish->of(to[j], j);
            }
        } else {
            if (columns > W) store(to, load(from));
            const i64 done = columns > W ? W : 0;
            copy_first(to + done, from + done, columns - done);
        }
    }
}

struct Depths {  // of the blocks along k, in units
    i64 all, block;
};
template <class Way>
INL Depths depths(i64 k) {
    const i64 all = ceil_div(k, Way::PER), steps = ceil_div(all, Depth<typename Way::Unit>);
    return {all, steps ? ceil_div(all, steps) : 0};
}

// Memory that will be read soon, brought nearer a few lines at a time while other work goes on.
struct Ahead {
    const char* at;
    i64 stride, runs, bytes;  // so many runs of so many bytes
    i64 done = 0;

    INL void step(i64 lines) {
        for (; lines > 0 && runs > 0; --lines) {
            __builtin_prefetch(at + done, 0, 2);
            done += 64;
            if (done >= bytes) done = 0, at += stride, --runs;
        }
    }
    i64 lines() const { return runs > 0 ? runs * ceil_div(bytes, 64) : 0; }
};
// The part of a that begins at `a`.
template <class From>
INL Ahead ahead_of(const GemmBlock& g, const From* a, i64 rows, i64 depth) {
    constexpr i64 size = sizeof(From);
    const char* at = reinterpret_cast<const char*>(a);
    if (g.a_cs == 1) return {at, g.a_rs * size, rows, depth * size};
    if (g.a_rs == 1) return {at, g.a_cs * size, rows > 0 ? depth : 0, rows * size};
    return {at, 0, 0, 0};
}

// y (m, n) = x + one row for all
template <class T>
INL void add_row(i64 m, i64 n, const T* x, i64 x_rs, const T* row, T* y, i64 y_rs) {
    for (i64 i = 0; i < m; ++i)
        for (i64 j = 0; j < n; ++j) y[i * y_rs + j] = x[i * x_rs + j] + row[j];
}

constexpr i64 MOST_AHEAD = 32;  // lines a tile: more would hold it up

// Blocks along k (KC), then rows (MC), columns (a panel of b in L1), rows of a tile.
template <class Way>
void block(const GemmBlock& g) {
    using From = typename Way::From;
    using Unit = typename Way::Unit;
    using Sum = typename Way::Sum;
    constexpr bool same = std::is_same_v<From, Unit>;
    constexpr i64 N = Panel<Unit>, W = Lanes<Unit>, MC = RowBlock<Unit>, PER = Way::PER;
    const From* a = reinterpret_cast<const From*>(g.a);
    const From* b = reinterpret_cast<const From*>(g.b);
    const Unit* packed_b = reinterpret_cast<const Unit*>(g.packed_b);
    Sum* c = reinterpret_cast<Sum*>(g.c);
    Unit* packed_a = reinterpret_cast<Unit*>(g.scratch);
    alignas(64) Unit panel[Depth<Unit> * N];
    const Depths depth = depths<Way>(g.k);
    const Sum* init = reinterpret_cast<const Sum*>(g.init);
    i64 init_rs = g.init_rs;
    for (i64 p = 0; p < depth.all || p == 0; p += depth.block) {
        const i64 kc = std::min(depth.block, depth.all - p), elements = std::min(kc * PER, g.k - p * PER);
        const From* b0 = b + p * PER * g.b_rs;
        for (i64 i0 = 0; i0 < g.m; i0 += MC) {
            const i64 mc = std::min(MC, g.m - i0);
            const i64 r = ceil_div(mc, ceil_div(mc, static_cast<i64>(TILE_ROWS)));  // tiles of nearly equal height
            const From* a0 = a + i0 * g.a_rs + p * PER * g.a_cs;
            const bool direct = same && direct_a<Unit>(g, mc);
            if (!direct && same && g.a_rs == 1 && mc > 1) {
                if constexpr (same) pack_tiles<Unit>(a0, g.a_cs, mc, r, kc, packed_a);
            } else if (!direct) {
                for (i64 i = 0; i < mc; i += r)
                    Way::pack(a0 + i * g.a_rs, g.a_rs, g.a_cs, std::min(r, mc - i), r, elements, packed_a + i * kc, true);
            }
            // What is read next: the rows below, then from the top further along k, and what a next slice begins with.
            const bool below = i0 + MC < g.m, along = p + depth.block < depth.all;
            Ahead next = ahead_of(g, below ? a0 + MC * g.a_rs : along ? a + (p + depth.block) * PER * g.a_cs : a + g.m * g.a_rs,
                                  below ? std::min(MC, g.m - i0 - MC) : along || packed_b ? std::min(MC, g.m) : 0, elements);
            const i64 lines = ceil_div(next.lines(), ceil_div(g.n, N) * ceil_div(mc, r));
            for (i64 j = 0; j < g.n; j += N) {
                const i64 columns = std::min(N, g.n - j);
                const Unit* bp = panel;
                i64 b_rs = N;
                if (packed_b) {
                    bp = packed_b + p * ceil_div(g.n, N) * N + j * kc;
                } else if (same && g.b_cs == 1 && columns % W == 0 && direct_b<Unit>(g)) {
                    bp = reinterpret_cast<const Unit*>(b0 + j);
                    b_rs = g.b_rs;
                } else {
                    Way::pack(b0 + j * g.b_cs, g.b_cs, g.b_rs, columns, N, elements, panel, false);
                }
                const Sum* from = init ? init + i0 * init_rs + j : nullptr;
                i64 from_rs = init_rs;
                alignas(64) Sum shift[N];
                if constexpr (Way::SHIFTED) {
                    Way::shift(kc, bp, shift);
                    if (from) {
                        add_row(mc, columns, from, from_rs, shift, c + i0 * g.c_rs + j, g.c_rs);
                        from = c + i0 * g.c_rs + j;
                        from_rs = g.c_rs;
                    } else {
                        from = shift;
                        from_rs = 0;
                    }
                }
                const auto& tiles = TILES<Way>[columns > W];
                alignas(64) PanelFinish<Unit> of_panel;
                const bool last = g.finish && p + kc >= depth.all;  // all of k is added up
                if (last) make(*g.finish, j, columns, of_panel);
                const PanelFinish<Unit>* finish = last ? &of_panel : nullptr;
                const bool ahead = direct && j == 0 && g.a_cs == 1 && kc * sizeof(Unit) <= 1024;
                for (i64 i = 0; i < mc; i += r) {
                    const i64 rows = std::min(r, mc - i);
                    if (lines <= MOST_AHEAD) next.step(lines);
                    if (ahead)  // short rows: the processor does not see where the next ones are
                        for (i64 next = i + r; next < std::min(mc, i + 2 * r); ++next)
                            for (i64 line = 0; line < kc; line += 64 / sizeof(Unit)) __builtin_prefetch(a0 + next * g.a_rs + line);
                    const Unit* at = direct ? reinterpret_cast<const Unit*>(a0 + i * g.a_rs) : packed_a + i * kc;
                    const i64 a_rs = direct ? g.a_rs : 1, a_cs = direct ? g.a_cs : r;
                    Sum* to = c + (i0 + i) * g.c_rs + j;
                    const Sum* base = from ? from + i * from_rs : nullptr;
                    if (columns % W == 0) tiles[rows - 1](kc, at, a_rs, a_cs, bp, b_rs, to, g.c_rs, base, from_rs, finish);
                    else narrow_tile<Way>(tiles[rows - 1], rows, columns, kc, at, a_rs, a_cs, bp, to, g.c_rs, base, from_rs, finish);
                }
            }
        }
        init = c;
        init_rs = g.c_rs;
        if (!depth.block) break;
    }
}

template <class Way>
void pack_b(const GemmBlock& g, i64 first, i64 last, char* packed) {
    using From = typename Way::From;
    using Unit = typename Way::Unit;
    constexpr i64 N = Panel<Unit>, PER = Way::PER;
    const From* b = reinterpret_cast<const From*>(g.b);
    const Depths depth = depths<Way>(g.k);
    const i64 width = ceil_div(g.n, N) * N;
    for (i64 p = 0; p < depth.all; p += depth.block) {
        const i64 kc = std::min(depth.block, depth.all - p), elements = std::min(kc * PER, g.k - p * PER);
        for (i64 j = first; j < last; j += N)
            Way::pack(b + p * PER * g.b_rs + j * g.b_cs, g.b_cs, g.b_rs, std::min(N, last - j), N, elements,
                      reinterpret_cast<Unit*>(packed) + p * width + j * kc, false);
    }
}
template <class Way>
i64 packed_bytes(i64 k, i64 n) {
    using Unit = typename Way::Unit;
    return ceil_div(k, Way::PER) * ceil_div(n, Panel<Unit>) * Panel<Unit> * static_cast<i64>(sizeof(Unit));
}

template <class Way>
constexpr GemmKernel kernel(int in, int acc) {
    return {in, acc, TILE_ROWS, Panel<typename Way::Unit>, &block<Way>, &pack_b<Way>, &packed_bytes<Way>, nullptr, nullptr, nullptr};
}

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
