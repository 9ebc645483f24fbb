// Loops of batch norm.
#include "../channels.hpp"

#include <type_traits>

#include "isa_tables.hpp"
#include "rows.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

// Calls f(width, first channel) for tiles of channels whose width is a constant where it can be: the sums of such a
// tile stay in registers. `width` is an integral_constant, or a number below 8.
template <class F>
INL void channel_tiles(i64 c, F f) {
    i64 k = 0;
    for (; k + 64 <= c; k += 64) f(std::integral_constant<int, 64>{}, k);
    if (k + 32 <= c) f(std::integral_constant<int, 32>{}, k), k += 32;
    if (k + 16 <= c) f(std::integral_constant<int, 16>{}, k), k += 16;
    if (k + 8 <= c) f(std::integral_constant<int, 8>{}, k), k += 8;
    if (k < c) f(static_cast<int>(c - k), k);
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
    channel_tiles(c, [&](auto w, i64 k0) {
        for (i64 o0 = 0; o0 < outer; o0 += RUN) {
            const i64 o1 = o0 + RUN < outer ? o0 + RUN : outer;
            T run[64], centre[64];
            for (int j = 0; j < w; ++j) run[j] = T(0), centre[j] = mean ? mean[k0 + j] : T(0);
            if (mean) {
                for (i64 o = o0; o < o1; ++o) {
                    const T* __restrict a = x + o * c + k0;
                    for (int j = 0; j < w; ++j) { const T d = a[j] - centre[j]; run[j] += d * d; }
                }
            } else {
                for (i64 o = o0; o < o1; ++o) {
                    const T* __restrict a = x + o * c + k0;
                    for (int j = 0; j < w; ++j) run[j] += a[j];
                }
            }
            for (int j = 0; j < w; ++j) acc[k0 + j] += static_cast<double>(run[j]);
        }
    });
}
// What follows batch norm, and the gradient that passes it, from the result before it.
template <Follow F, class T>
INL T follow(T y) {
    if constexpr (F != NOTHING) y = y < T(0) ? T(0) : y;
    if constexpr (F == RELU6) y = y > T(6) ? T(6) : y;
    return y;
}
template <Follow F, class T>
INL T passed(T g, T y) {
    if constexpr (F == RELU) return y > T(0) ? g : T(0);
    if constexpr (F == RELU6) return (y > T(0)) & (y < T(6)) ? g : T(0);
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
                for (i64 i = 0; i < inner; ++i) b[i] = follow<F>((a[i] - m) * s + t);
            }
        return;
    }
    for (i64 o = 0; o < outer; ++o, x += c, y += c) {
        const T *__restrict a = x, *__restrict m = mean, *__restrict s = scale, *__restrict t = shift;
        T* __restrict b = y;
        if (t) {
            for (i64 k = 0; k < c; ++k) b[k] = follow<F>((a[k] - m[k]) * s[k] + t[k]);
        } else {
            for (i64 k = 0; k < c; ++k) b[k] = follow<F>((a[k] - m[k]) * s[k]);
        }
    }
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
    channel_tiles(c, [&](auto w, i64 k0) {
        for (i64 o0 = 0; o0 < outer; o0 += RUN) {
            const i64 o1 = o0 + RUN < outer ? o0 + RUN : outer;
            T run[64], dot[64], centre[64], scale[64], shift[64];
            for (int j = 0; j < w; ++j) {
                run[j] = dot[j] = T(0), centre[j] = n.mean[k0 + j];
                scale[j] = n.scale[k0 + j], shift[j] = n.shift ? n.shift[k0 + j] : T(0);
            }
            for (i64 o = o0; o < o1; ++o) {
                const T *__restrict a = x + o * c + k0, *__restrict d = g + o * c + k0;
                for (int j = 0; j < w; ++j) {
                    const T shifted = a[j] - centre[j], part = passed<F>(d[j], shifted * scale[j] + shift[j]);
                    run[j] += part;
                    dot[j] += part * shifted;
                }
            }
            for (int j = 0; j < w; ++j) {
                acc[k0 + j] += static_cast<double>(run[j]);
                second[k0 + j] += static_cast<double>(dot[j]) * static_cast<double>(n.rstd[k0 + j]);
            }
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
                for (i64 i = 0; i < inner; ++i) y[i] = s * (passed<F>(d[i], (a[i] - m) * s + t) - b - (a[i] - m) * w);
            }
            continue;
        }
        const T *__restrict a = x, *__restrict d = g, *__restrict m = n.mean, *__restrict s = n.scale, *__restrict t = n.shift;
        const T *__restrict b = gb, *__restrict w = gw, *__restrict q = n.rstd;
        T* __restrict y = gx;
        if (F == NOTHING || !t) {
            for (i64 k = 0; k < c; ++k) y[k] = s[k] * (passed<F>(d[k], (a[k] - m[k]) * s[k]) - b[k] - (a[k] - m[k]) * (w[k] * q[k]));
        } else {
            for (i64 k = 0; k < c; ++k) y[k] = s[k] * (passed<F>(d[k], (a[k] - m[k]) * s[k] + t[k]) - b[k] - (a[k] - m[k]) * (w[k] * q[k]));
        }
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
