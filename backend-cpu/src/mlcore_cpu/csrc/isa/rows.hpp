// Sums, maxima and products of contiguous rows: fixed lanes and block lengths, so a row has one result.
#pragma once
#include "../pool.hpp"
#include "loops.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

template <class T> constexpr int LANES = 256 / sizeof(T);
constexpr int RUN = 16;  // additions per lane before the double accumulator takes over

// Elements of a row between two looks for Ctrl-C: a multiple of every block below. A loop that was told to stop leaves
// its work undone; the driver's loop will say so.
constexpr i64 BREATH = i64{1} << 20;
INL bool told_to_stop(i64 done) { return __builtin_expect(done % BREATH == 0 && done > 0, 0) && interrupted(); }

// Sum over i of f(i), i in [0, n).
template <class T, class F>
INL double sum_of(i64 n, F f) {
    constexpr int L = LANES<T>;
    double total = 0;
    for (i64 start = 0; start < n; start += RUN * L) {
        if (told_to_stop(start)) break;
        const i64 stop = start + RUN * L < n ? start + RUN * L : n;
        T lane[L];
        for (int j = 0; j < L; ++j) lane[j] = T(0);
        i64 i = start;
        for (; i + L <= stop; i += L)
            for (int j = 0; j < L; ++j) lane[j] += f(i + j);
        for (int j = 0; i < stop; ++i, ++j) lane[j] += f(i);
        for (int half = L / 2; half > 0; half /= 2)
            for (int j = 0; j < half; ++j) lane[j] += lane[j + half];
        total += static_cast<double>(lane[0]);
    }
    return total;
}

template <class T>
INL T max_of(const T* __restrict x, i64 n) {  // NaN wins; -inf for n = 0
    constexpr int L = LANES<T>;
    T lane[L];
    for (int j = 0; j < L; ++j) lane[j] = -std::numeric_limits<T>::infinity();
    i64 i = 0;
    for (; i + L <= n; i += L)
        for (int j = 0; j < L; ++j) lane[j] = max(lane[j], x[i + j]);
    for (int j = 0; i < n; ++i, ++j) lane[j] = max(lane[j], x[i]);
    for (int half = L / 2; half > 0; half /= 2)
        for (int j = 0; j < half; ++j) lane[j] = max(lane[j], lane[j + half]);
    return lane[0];
}

// ---- rows walked by position: the same body runs on one element, on a register, and on a masked tail -----------

template <class T>
struct Lane {  // element i
    using V = T;
    i64 i;
    INL T operator()(const T* p) const { return p[i]; }
    INL void put(T* p, T v) const { p[i] = v; }
};
#ifdef MLCORE_WIDE
struct Strip {  // elements from i on
    using V = Wide;
    i64 i;
    INL Wide operator()(const float* p) const { return Wide::load(p + i); }
    INL void put(float* p, Wide v) const { v.store(p + i); }
    INL Wide plus(Wide a, Wide b) const { return a + b; }
    INL Wide top(const float* p, Wide a) const { return at_least(Wide::load(p + i), a); }
};
struct Tail {  // n elements, fewer than a strip
    using V = Wide;
    i64 i, n;
    INL Wide operator()(const float* p) const { return Wide::load(p + i, n); }
    INL void put(float* p, Wide v) const { v.store(p + i, n); }
    INL Wide plus(Wide a, Wide b) const {
        return each([&](int k) { return _mm512_mask_add_ps(a.v[k], Wide::of(n, k), a.v[k], b.v[k]); });
    }
    INL Wide top(const float* p, Wide a) const { return at_least(Wide::load(p + i, n, -F_INF), a); }
};
INL float sum_lanes(Wide x) {
    __m512 total = x.v[0];
    for (int k = 1; k < Wide::N; ++k) total = _mm512_add_ps(total, x.v[k]);
    return _mm512_reduce_add_ps(total);
}
INL float max_lanes(Wide x) {
    __m512 top = x.v[0];
    for (int k = 1; k < Wide::N; ++k) top = _mm512_max_ps(top, x.v[k]);
    return _mm512_reduce_max_ps(top);
}
#endif

template <class T, class F>
INL void each_of(i64 n, F f) {
    i64 i = 0;
    do {
        if (told_to_stop(i)) return;
        const i64 stop = n - i > BREATH ? i + BREATH : n;
#ifdef MLCORE_WIDE
        if constexpr (sizeof(T) == 4) {
            for (; i + Wide::LANES <= stop; i += Wide::LANES) f(Strip{i});
            if (i < stop) f(Tail{i, stop - i});
            i = stop;
            continue;
        }
#endif
#pragma GCC ivdep
        for (; i < stop; ++i) f(Lane<T>{i});
    } while (i < n);
}

// The sums of what f gives, M values at a time: f(at) returns an array of M. Blocks of float sums, joined in double.
template <class V, int M> struct Several { V of[M]; };
template <int M, class T, class F>
INL Several<double, M> totals_of(i64 n, F f) {
    Several<double, M> total{};
#ifdef MLCORE_WIDE
    if constexpr (sizeof(T) == 4) {
        constexpr int SIDE = 4;
        constexpr i64 STEP = Wide::LANES * SIDE;
        for (i64 start = 0; start < n; start += RUN * STEP) {
            if (told_to_stop(start)) break;
            const i64 stop = start + RUN * STEP < n ? start + RUN * STEP : n;
            Wide acc[SIDE][M];
            for (auto& side : acc)
                for (Wide& one : side) one = Wide(0.0f);
            const auto add = [&](auto at, int side) {
                const auto v = f(at);
                for (int m = 0; m < M; ++m) acc[side][m] = at.plus(acc[side][m], v.of[m]);
            };
            i64 i = start;
            for (; i + STEP <= stop; i += STEP)
                for (int side = 0; side < SIDE; ++side) add(Strip{i + side * Wide::LANES}, side);
            for (; i + Wide::LANES <= stop; i += Wide::LANES) add(Strip{i}, 0);
            if (i < stop) add(Tail{i, stop - i}, 1);
            for (int m = 0; m < M; ++m)
                total.of[m] += static_cast<double>(sum_lanes((acc[0][m] + acc[2][m]) + (acc[1][m] + acc[3][m])));
        }
        return total;
    }
#endif
    constexpr int L = LANES<T>;
    for (i64 start = 0; start < n; start += RUN * L) {
        if (told_to_stop(start)) break;
        const i64 stop = start + RUN * L < n ? start + RUN * L : n;
        T lane[M][L];
        for (auto& lanes : lane)
            for (T& one : lanes) one = T(0);
        const auto add = [&](i64 i, int j) {
            const auto v = f(Lane<T>{i});
            for (int m = 0; m < M; ++m) lane[m][j] += v.of[m];
        };
        i64 i = start;
        for (; i + L <= stop; i += L)
            for (int j = 0; j < L; ++j) add(i + j, j);
        for (int j = 0; i < stop; ++i, ++j) add(i, j);
        for (int m = 0; m < M; ++m) {
            for (int half = L / 2; half > 0; half /= 2)
                for (int j = 0; j < half; ++j) lane[m][j] += lane[m][j + half];
            total.of[m] += static_cast<double>(lane[m][0]);
        }
    }
    return total;
}
template <class T, class F>
INL double total_of(i64 n, F f) {
    return totals_of<1, T>(n, [&](auto at) { return Several<typename decltype(at)::V, 1>{{f(at)}}; }).of[0];
}

// The greatest element that is a number, or NaN: what softmax needs, whose sum a NaN reaches anyway. -inf for n = 0.
template <class T>
INL T top_of_block(const T* x, i64 n) {
#ifdef MLCORE_WIDE
    if constexpr (sizeof(T) == 4) {
        Wide acc[4] = {Wide(-F_INF), Wide(-F_INF), Wide(-F_INF), Wide(-F_INF)};
        i64 i = 0;
        for (; i + 4 * Wide::LANES <= n; i += 4 * Wide::LANES)
            for (int side = 0; side < 4; ++side) acc[side] = Strip{i + side * Wide::LANES}.top(x, acc[side]);
        for (; i + Wide::LANES <= n; i += Wide::LANES) acc[0] = Strip{i}.top(x, acc[0]);
        if (i < n) acc[1] = Tail{i, n - i}.top(x, acc[1]);
        return max_lanes(at_least(at_least(acc[0], acc[1]), at_least(acc[2], acc[3])));
    }
#endif
    return max_of(x, n);
}
template <class T>
INL T top_of(const T* x, i64 n) {
    T top = top_of_block(x, n < BREATH ? n : BREATH);
    for (i64 i = BREATH; i < n; i += BREATH) {
        if (told_to_stop(i)) break;
        top = max(top, top_of_block(x + i, n - i < BREATH ? n - i : BREATH));
    }
    return top;
}

template <class T> INL T finite_or_zero(T x) { return isfinite(x) ? x : T(0); }

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
