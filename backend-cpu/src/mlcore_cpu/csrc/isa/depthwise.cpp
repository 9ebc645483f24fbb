// Rows of depthwise convolutions: vectors are channels, some results beside each other share what they read.
// Compiled with -ffp-contract=fast, like the products.
#include "../depthwise.hpp"

#include "gemm_pack.hpp"
#include "isa_tables.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

constexpr int LANES = Lanes<float>;
using Floats = Vec<float>;

// V is a vector of channels, or one channel.
template <class V> INL V get(const float* p);
template <> INL Floats get<Floats>(const float* p) { return load(p); }
template <> INL float get<float>(const float* p) { return *p; }
INL void put(float* p, Floats v) { store(p, v); }
INL void put(float* p, float v) { *p = v; }
template <class V> INL V all(float value) { return V{} + value; }

template <class V>
INL V finished(const Finish* f, V v, i64 c) {
    if (!f) return v;
    if (f->scale) v *= get<V>(f->scale + c);
    if (f->shift) v += get<V>(f->shift + c);
    if (f->bounded) {
        const V low = all<V>(f->low), high = all<V>(f->high);
        v = low > v ? low : v;
        v = high < v ? high : v;
    }
    return v;
}

// N results from column j on, all of whose T taps lie inside.
template <class V, int T, int STEP, int N>
INL void together(const DepthwiseRow& r, i64 j, i64 c) {
    const i64 C = r.channels;
    V sums[N] = {};
    for (i64 k = 0; k < r.n_rows; ++k) {
        const float *x = r.rows[k] + (r.first + j * STEP) * C + c, *w = r.weights[k] + c;
        V taps[T];
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) taps[t] = get<V>(w + t * C);
#pragma GCC unroll 16
        for (int i = 0; i < (N - 1) * STEP + T; ++i) {
            const V v = get<V>(x + i * C);
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n)
                if (i - n * STEP >= 0 && i - n * STEP < T) sums[n] += v * taps[i - n * STEP];
        }
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) put(r.y + (j + n) * r.y_step + c, finished(r.finish, sums[n], c));
}
// Result j from the taps [from, to).
template <class V>
INL void single(const DepthwiseRow& r, i64 j, i64 from, i64 to, i64 c) {
    V sum = {};
    for (i64 k = 0; k < r.n_rows; ++k)
        for (i64 t = from; t < to; ++t)
            sum += get<V>(r.rows[k] + (r.first + j * r.step + t * r.dilation) * r.channels + c) * get<V>(r.weights[k] + t * r.channels + c);
    put(r.y + j * r.y_step + c, finished(r.finish, sum, c));
}

// f(vector or number, channel) for all channels; the last vector may overlap the one before.
template <class F>
INL void over_channels(i64 channels, F f) {
    i64 c = 0;
    for (; c + LANES <= channels; c += LANES) f(Floats{}, c);
    if (c == channels) return;
    if (channels >= LANES) return f(Floats{}, channels - LANES);
    for (; c < channels; ++c) f(0.0f, c);
}

// The results all of whose taps lie inside: [from, to)
struct Inside {
    i64 from, to;
};
INL Inside inside(i64 count, i64 first, i64 step, i64 reach, i64 width) {
    const i64 from = first < 0 ? (-first + step - 1) / step : 0, room = width - 1 - reach - first;
    const i64 to = room < 0 ? 0 : room / step + 1;
    const i64 low = std::min(from, count);
    return {low, std::max(low, std::min(to, count))};
}

void edge(const DepthwiseRow& r, i64 begin, i64 end) {
    for (i64 j = begin; j < end; ++j) {
        const i64 column = r.first + j * r.step;
        i64 from = 0, to = r.taps;
        while (from < to && column + from * r.dilation < 0) ++from;
        while (to > from && column + (to - 1) * r.dilation >= r.width) --to;
        over_channels(r.channels, [&](auto v, i64 c) { single<decltype(v)>(r, j, from, to, c); });
    }
}

template <int T, int STEP>
void middle(const DepthwiseRow& r, i64 begin, i64 end) {
    constexpr int N = 4;
    i64 j = begin;
    for (; j + N <= end; j += N) over_channels(r.channels, [&](auto v, i64 c) { together<decltype(v), T, STEP, N>(r, j, c); });
    for (; j < end; ++j) over_channels(r.channels, [&](auto v, i64 c) { together<decltype(v), T, STEP, 1>(r, j, c); });
}
using Middle = void (*)(const DepthwiseRow&, i64, i64);
// by steps - 1 and taps - 1
constexpr Middle MIDDLE[2][7] = {
    {&middle<1, 1>, &middle<2, 1>, &middle<3, 1>, &middle<4, 1>, &middle<5, 1>, &middle<6, 1>, &middle<7, 1>},
    {&middle<1, 2>, &middle<2, 2>, &middle<3, 2>, &middle<4, 2>, &middle<5, 2>, &middle<6, 2>, &middle<7, 2>}};

void row(const DepthwiseRow& r) {
    const bool near = r.taps >= 1 && r.taps <= 7 && r.step <= 2 && (r.dilation == 1 || r.taps == 1);
    const Inside in = near ? inside(r.count, r.first, r.step, r.taps - 1, r.width) : Inside{r.count, r.count};
    edge(r, 0, in.from);
    if (near) MIDDLE[r.step - 1][r.taps - 1](r, in.from, in.to);
    edge(r, in.to, r.count);
}

// T taps over V vectors of channels (or one channel) and the results [begin, end), whose taps lie inside.
template <class V, int T, int N>
INL void add_products(const DepthwiseSums& s, i64 begin, i64 end, i64 c) {
    constexpr int W = sizeof(V) / sizeof(float);
    const i64 C = s.channels, x_step = s.step * C, tap = s.dilation * C;
    V sums[T][N] = {};
    const float *g = s.g + begin * C + c, *x = s.x + (s.first + begin * s.step) * C + c;
    for (i64 j = begin; j < end; ++j, g += C, x += x_step) {
        V d[N];
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) d[n] = get<V>(g + n * W);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) sums[t][n] += d[n] * get<V>(x + t * tap + n * W);
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) put(s.sums + t * C + c + n * W, get<V>(s.sums + t * C + c + n * W) + sums[t][n]);
}
template <int T>
void sums_inside(const DepthwiseSums& s, i64 begin, i64 end) {
    constexpr int N = VECTOR_BYTES == 64 && T <= 4 ? 4 : T <= 4 ? 2 : 1;
    constexpr i64 RUN = 16;  // results whose sums stay in registers: what they read stays in L1 for the next row of the kernel
    for (i64 j = begin; j < end; j += RUN) {
        const i64 to = std::min(end, j + RUN);
        i64 c = 0;
        for (; c + N * LANES <= s.channels; c += N * LANES) add_products<Floats, T, N>(s, j, to, c);
        for (; c + LANES <= s.channels; c += LANES) add_products<Floats, T, 1>(s, j, to, c);
        for (; c < s.channels; ++c) add_products<float, T, 1>(s, j, to, c);
    }
}
using SumsInside = void (*)(const DepthwiseSums&, i64, i64);
constexpr SumsInside SUMS[7] = {&sums_inside<1>, &sums_inside<2>, &sums_inside<3>, &sums_inside<4>, &sums_inside<5>, &sums_inside<6>, &sums_inside<7>};

void sums(const DepthwiseSums& s) {
    const Inside in = inside(s.count, s.first, s.step, (s.taps - 1) * s.dilation, s.width);
    auto edge = [&](i64 begin, i64 end) {
        for (i64 j = begin; j < end; ++j)
            for (i64 t = 0; t < s.taps; ++t) {
                const i64 column = s.first + j * s.step + t * s.dilation;
                if (column < 0 || column >= s.width) continue;
                const float *g = s.g + j * s.channels, *x = s.x + column * s.channels;
                float* to = s.sums + t * s.channels;
                for (i64 c = 0; c < s.channels; ++c) to[c] += g[c] * x[c];
            }
    };
    edge(0, in.from);
    SUMS[s.taps - 1](s, in.from, in.to);
    edge(in.to, s.count);
}

}  // namespace

const DepthwiseTable* depthwise_table() {
    static const DepthwiseTable depthwise{&row, &sums};
    return &depthwise;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
