// Loops of batch norm.
#include "../channels.hpp"

#include <type_traits>

#include "gemm_pack.hpp"
#include "isa_tables.hpp"
#include "rows.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

constexpr i64 TOGETHER = 32;  // rows whose sums stay in registers, before double accumulators take over

// V is a vector of channels, or one channel.
template <class V, class T> INL V get(const T* p) {
    if constexpr (std::is_same_v<V, T>) return *p;
    else return load(p);
}
template <class T> INL void put(T* p, T v) { *p = v; }
template <class T> INL void put(T* p, Vec<T> v) { store(p, v); }

// f(vector or number, how many of them, first channel, how many channels to leave out there) for all channels; wide
// tiles, so that memory is read in its order.
template <class T, class F>
INL void channel_tiles(i64 c, F f) {
    constexpr i64 W = Lanes<T>;
    constexpr int MANY = VECTOR_BYTES == 64 ? 8 : 4;
    i64 k = 0;
    for (; k + MANY * W <= c; k += MANY * W) f(Vec<T>{}, std::integral_constant<int, MANY>{}, k, 0);
    if (k + 6 * W <= c) f(Vec<T>{}, std::integral_constant<int, 6>{}, k, 0), k += 6 * W;
    if (k + 4 * W <= c) f(Vec<T>{}, std::integral_constant<int, 4>{}, k, 0), k += 4 * W;
    if (k + 2 * W <= c) f(Vec<T>{}, std::integral_constant<int, 2>{}, k, 0), k += 2 * W;
    if (k + W <= c) f(Vec<T>{}, std::integral_constant<int, 1>{}, k, 0), k += W;
    if (k < c && c >= W) return f(Vec<T>{}, std::integral_constant<int, 1>{}, c - W, static_cast<int>(k - (c - W)));
    for (; k < c; ++k) f(T(0), std::integral_constant<int, 1>{}, k, 0);
}
// f(vector or number, channel) for all channels of a row; the last vector may overlap the one before.
template <class T, class F>
INL void channel_row(i64 c, F f) {
    constexpr i64 W = Lanes<T>;
    i64 k = 0;
    for (; k + W <= c; k += W) f(Vec<T>{}, k);
    if (k == c) return;
    if (c >= W) return f(Vec<T>{}, c - W);
    for (; k < c; ++k) f(T(0), k);
}
// acc += the N sums but for the first `skip` channels, each times `by`, if given
template <class T, int N, class V>
INL void add_sums(double* acc, const V (&sums)[N], const T* by, int skip) {
    constexpr int W = sizeof(V) / sizeof(T);
    T run[N * W];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) put(run + n * W, sums[n]);
    for (int j = skip; j < N * W; ++j) acc[j] += by ? static_cast<double>(run[j]) * static_cast<double>(by[j]) : static_cast<double>(run[j]);
}

// Channels: memory (outer, c, inner); inner = 1 is channels-last and vectorises over channels.
template <class T>
void channel_sum(const T* x, const T* mean, double* acc, i64 outer, i64 c, i64 inner) {
    if (inner > 1) {
        for (i64 o = 0; o < outer; ++o)
            for (i64 k = 0; k < c; ++k, x += inner) {
                const T* __restrict a = x;
                if (mean) {
                    const T m = mean[k];
                    acc[k] += sum_of<T>(inner, [&](i64 i) { const T d = a[i] - m; return d * d; });
                } else {
                    acc[k] += sum_of<T>(inner, [&](i64 i) { return a[i]; });
                }
            }
        return;
    }
    channel_tiles<T>(c, [&](auto v, auto many, i64 k, int skip) {
        using V = decltype(v);
        constexpr int N = many(), W = sizeof(V) / sizeof(T);
        for (i64 o0 = 0; o0 < outer; o0 += TOGETHER) {
            const i64 o1 = o0 + TOGETHER < outer ? o0 + TOGETHER : outer;
            V sums[N] = {};
            if (mean) {
                for (i64 o = o0; o < o1; ++o)
#pragma GCC unroll 8
                    for (int n = 0; n < N; ++n) {
                        const V d = get<V>(x + o * c + k + n * W) - get<V>(mean + k + n * W);
                        sums[n] += d * d;
                    }
            } else {
                for (i64 o = o0; o < o1; ++o)
#pragma GCC unroll 8
                    for (int n = 0; n < N; ++n) sums[n] += get<V>(x + o * c + k + n * W);
            }
            add_sums<T, N>(acc + k, sums, nullptr, skip);
        }
    });
}

// What follows batch norm, and the gradient that passes it, from the result before it.
template <Follow F, class V>
INL V follow(V y) {
    const V zero = {}, six = zero + 6;
    if constexpr (F != NOTHING) y = y < zero ? zero : y;
    if constexpr (F == RELU6) y = y > six ? six : y;
    return y;
}
template <Follow F, class V>
INL V passed(V g, V y) {
    const V zero = {}, six = zero + 6;
    if constexpr (F != NOTHING) g = y > zero ? g : zero;
    if constexpr (F == RELU6) g = y < six ? g : zero;
    return g;
}
// Calls f with the constant that `kind` is.
template <class F>
INL void with_follow(Follow kind, F f) {
    switch (kind) {
        case NOTHING: return f(std::integral_constant<Follow, NOTHING>{});
        case RELU: return f(std::integral_constant<Follow, RELU>{});
        case RELU6: return f(std::integral_constant<Follow, RELU6>{});
    }
}

template <Follow F, class T>
void scale_as(const T* x, const T* mean, const T* scale, const T* shift, T* y, i64 outer, i64 c, i64 inner) {
    if (inner > 1) {
        for (i64 o = 0; o < outer; ++o)
            for (i64 k = 0; k < c; ++k, x += inner, y += inner) {
                const T* __restrict a = x;
                T* __restrict b = y;
                const T m = mean[k], s = scale[k], t = shift ? shift[k] : T(0);
                for (i64 from = 0; from < inner; from += BREATH) {
                    if (told_to_stop(from)) return;
                    const i64 to = from + BREATH < inner ? from + BREATH : inner;
                    for (i64 i = from; i < to; ++i) b[i] = follow<F>((a[i] - m) * s + t);
                }
            }
        return;
    }
    for (i64 o = 0; o < outer; ++o, x += c, y += c)
        channel_row<T>(c, [&](auto v, i64 k) {
            using V = decltype(v);
            v = (get<V>(x + k) - get<V>(mean + k)) * get<V>(scale + k);
            if (shift) v += get<V>(shift + k);
            put(y + k, follow<F>(v));
        });
}
template <class T>
void channel_scale(const T* x, const T* mean, const T* scale, const T* shift, T* y, i64 outer, i64 c, i64 inner, Follow kind) {
    with_follow(kind, [&](auto f) { scale_as<f()>(x, mean, scale, shift, y, outer, c, inner); });
}

template <Follow F, class T>
void grad_sum_as(const T* g, const T* x, const NormChannels<T>& n, double* acc, i64 outer, i64 c, i64 inner, i64 all) {
    double* second = acc + all;
    if (inner > 1) {
        for (i64 o = 0; o < outer; ++o)
            for (i64 k = 0; k < c; ++k, x += inner, g += inner) {
                const T *__restrict a = x, *__restrict d = g;
                const T m = n.mean[k], s = n.scale[k], t = n.shift ? n.shift[k] : T(0);
                acc[k] += sum_of<T>(inner, [&](i64 i) { return passed<F>(d[i], (a[i] - m) * s + t); });
                second[k] += sum_of<T>(inner, [&](i64 i) { return passed<F>(d[i], (a[i] - m) * s + t) * (a[i] - m); }) * static_cast<double>(n.rstd[k]);
            }
        return;
    }
    channel_tiles<T>(c, [&](auto v, auto many, i64 k, int skip) {
        using V = decltype(v);
        constexpr int N = many(), W = sizeof(V) / sizeof(T);
        for (i64 o0 = 0; o0 < outer; o0 += TOGETHER) {
            const i64 o1 = o0 + TOGETHER < outer ? o0 + TOGETHER : outer;
            V sums[N] = {}, dots[N] = {};
            for (i64 o = o0; o < o1; ++o)
#pragma GCC unroll 8
                for (int i = 0; i < N; ++i) {
                    const i64 here = k + i * W, at = o * c + here;
                    const V shifted = get<V>(x + at) - get<V>(n.mean + here);
                    V y = {};
                    if constexpr (F != NOTHING) y = n.shift ? shifted * get<V>(n.scale + here) + get<V>(n.shift + here) : shifted * get<V>(n.scale + here);
                    const V part = passed<F>(get<V>(g + at), y);
                    sums[i] += part;
                    dots[i] += part * shifted;
                }
            add_sums<T, N>(acc + k, sums, nullptr, skip);
            add_sums<T, N>(second + k, dots, n.rstd + k, skip);
        }
    });
}
template <class T>
void channel_grad_sum(const T* g, const T* x, const NormChannels<T>& n, double* acc, i64 outer, i64 c, i64 inner, i64 all, Follow kind) {
    with_follow(kind, [&](auto f) { grad_sum_as<f()>(g, x, n, acc, outer, c, inner, all); });
}

template <Follow F, class T>
void grad_as(const T* g, const T* x, const NormChannels<T>& n, const T* gb, const T* gw, T* gx, i64 outer, i64 c, i64 inner) {
    for (i64 o = 0; o < outer; ++o) {
        if (inner > 1) {
            for (i64 k = 0; k < c; ++k, x += inner, g += inner, gx += inner) {
                const T *__restrict a = x, *__restrict d = g;
                T* __restrict y = gx;
                const T m = n.mean[k], s = n.scale[k], t = n.shift ? n.shift[k] : T(0), b = gb[k], w = gw[k] * n.rstd[k];
                for (i64 from = 0; from < inner; from += BREATH) {
                    if (told_to_stop(from)) return;
                    const i64 to = from + BREATH < inner ? from + BREATH : inner;
                    for (i64 i = from; i < to; ++i) y[i] = s * (passed<F>(d[i], (a[i] - m) * s + t) - b - (a[i] - m) * w);
                }
            }
            continue;
        }
        channel_row<T>(c, [&](auto v, i64 k) {
            using V = decltype(v);
            const V shifted = get<V>(x + k) - get<V>(n.mean + k), scale = get<V>(n.scale + k);
            V y = shifted * scale;
            if (F != NOTHING && n.shift) y += get<V>(n.shift + k);
            put(gx + k, scale * (passed<F>(get<V>(g + k), y) - get<V>(gb + k) - shifted * (get<V>(gw + k) * get<V>(n.rstd + k))));
        });
        x += c, g += c, gx += c;
    }
}
template <class T>
void channel_grad(const T* g, const T* x, const NormChannels<T>& n, const T* gb, const T* gw, T* gx, i64 outer, i64 c, i64 inner, Follow kind) {
    with_follow(kind, [&](auto f) { grad_as<f()>(g, x, n, gb, gw, gx, outer, c, inner); });
}

template <bool SCALED, bool SHIFTED, bool BOUNDED>
void finish_as(const Finish& f, float* y, i64 rows, i64 c, i64 stride) {
    const float *__restrict scale = f.scale, *__restrict shift = f.shift;
    const float low = f.low, high = f.high;
    for (i64 row = 0; row < rows; ++row, y += stride)
        for (i64 k = 0; k < c; ++k) {
            float v = y[k];
            if constexpr (SCALED) v *= scale[k];
            if constexpr (SHIFTED) v += shift[k];
            if constexpr (BOUNDED) {
                v = low > v ? low : v;
                v = high < v ? high : v;
            }
            y[k] = v;
        }
}
void finish(const Finish& f, float* y, i64 rows, i64 c, i64 stride) {
    using Loop = void (*)(const Finish&, float*, i64, i64, i64);
    static constexpr Loop LOOPS[2][2][2] = {
        {{&finish_as<false, false, false>, &finish_as<false, false, true>}, {&finish_as<false, true, false>, &finish_as<false, true, true>}},
        {{&finish_as<true, false, false>, &finish_as<true, false, true>}, {&finish_as<true, true, false>, &finish_as<true, true, true>}}};
    LOOPS[f.scale != nullptr][f.shift != nullptr][f.bounded](f, y, rows, c, stride);
}

template <class T>
ChannelLoops<T> loops() {
    return {&channel_sum<T>, &channel_scale<T>, &channel_grad_sum<T>, &channel_grad<T>};
}

}  // namespace

const ChannelTable* channel_table() {
    static const ChannelTable channels{loops<float>(), loops<double>(), &finish};
    return &channels;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
