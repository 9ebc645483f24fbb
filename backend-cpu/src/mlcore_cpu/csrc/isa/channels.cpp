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
template <class T>
void channel_scale(const T* x, const T* mean, const T* scale, const T* shift, T* y, i64 outer, i64 c, i64 inner) {
    if (inner > 1) {
        for (i64 o = 0; o < outer; ++o)
            for (i64 k = 0; k < c; ++k, x += inner, y += inner) {
                const T* __restrict a = x;
                T* __restrict b = y;
                const T m = mean[k], s = scale[k], t = shift ? shift[k] : T(0);
                for (i64 i = 0; i < inner; ++i) b[i] = (a[i] - m) * s + t;
            }
        return;
    }
    for (i64 o = 0; o < outer; ++o, x += c, y += c) {
        const T *__restrict a = x, *__restrict m = mean, *__restrict s = scale, *__restrict t = shift;
        T* __restrict b = y;
        if (t) {
            for (i64 k = 0; k < c; ++k) b[k] = (a[k] - m[k]) * s[k] + t[k];
        } else {
            for (i64 k = 0; k < c; ++k) b[k] = (a[k] - m[k]) * s[k];
        }
    }
}
template <class T>
void channel_grad_sum(const T* g, const T* x, const T* mean, const T* rstd, double* acc, i64 outer, i64 c, i64 inner, i64 all) {
    double* second = acc + all;
    if (inner > 1) {
        for (i64 o = 0; o < outer; ++o)
            for (i64 k = 0; k < c; ++k, x += inner, g += inner) {
                const T *__restrict a = x, *__restrict d = g;
                const T m = mean[k];
                acc[k] += sum_of<T>(inner, [&](i64 i) { return d[i]; });
                second[k] += sum_of<T>(inner, [&](i64 i) { return d[i] * (a[i] - m); }) * static_cast<double>(rstd[k]);
            }
        return;
    }
    channel_tiles(c, [&](auto w, i64 k0) {
        for (i64 o0 = 0; o0 < outer; o0 += RUN) {
            const i64 o1 = o0 + RUN < outer ? o0 + RUN : outer;
            T run[64], dot[64], centre[64];
            for (int j = 0; j < w; ++j) run[j] = dot[j] = T(0), centre[j] = mean[k0 + j];
            for (i64 o = o0; o < o1; ++o) {
                const T *__restrict a = x + o * c + k0, *__restrict d = g + o * c + k0;
                for (int j = 0; j < w; ++j) {
                    run[j] += d[j];
                    dot[j] += d[j] * (a[j] - centre[j]);
                }
            }
            for (int j = 0; j < w; ++j) {
                acc[k0 + j] += static_cast<double>(run[j]);
                second[k0 + j] += static_cast<double>(dot[j]) * static_cast<double>(rstd[k0 + j]);
            }
        }
    });
}
// gb and gw: the sums divided by the count
template <class T>
void channel_grad(const T* g, const T* x, const T* mean, const T* rstd, const T* scale, const T* gb, const T* gw, T* gx, i64 outer, i64 c, i64 inner) {
    for (i64 o = 0; o < outer; ++o) {
        if (inner > 1) {
            for (i64 k = 0; k < c; ++k, x += inner, g += inner, gx += inner) {
                const T *__restrict a = x, *__restrict d = g;
                T* __restrict y = gx;
                const T m = mean[k], s = scale[k], b = gb[k], w = gw[k] * rstd[k];
                for (i64 i = 0; i < inner; ++i) y[i] = s * (d[i] - b - (a[i] - m) * w);
            }
        } else {
            const T *__restrict a = x, *__restrict d = g, *__restrict m = mean, *__restrict s = scale, *__restrict b = gb, *__restrict w = gw, *__restrict q = rstd;
            T* __restrict y = gx;
            for (i64 k = 0; k < c; ++k) y[k] = s[k] * (d[k] - b[k] - (a[k] - m[k]) * (w[k] * q[k]));
            x += c, g += c, gx += c;
        }
    }
}

template <class T>
ChannelLoops<T> loops() {
    return {&channel_sum<T>, &channel_scale<T>, &channel_grad_sum<T>, &channel_grad<T>};
}

}  // namespace

const ChannelTable* channel_table() {
    static const ChannelTable channels{loops<float>(), loops<double>()};
    return &channels;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
