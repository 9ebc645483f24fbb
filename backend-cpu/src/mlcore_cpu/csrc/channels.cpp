// Drivers of batch norm: statistics over groups of rows or over planes, combined in a fixed order.
#include "channels.hpp"

#include <cmath>

#include "alloc.hpp"
#include "drivers.hpp"
#include "tables.hpp"

namespace mlcore_cpu {
namespace {

template <class T> const ChannelLoops<T>& loops();
template <> const ChannelLoops<float>& loops<float>() { return table().channels->f32; }
template <> const ChannelLoops<double>& loops<double>() { return table().channels->f64; }

// Rows that one task sums up, of c channels: enough to make joining the groups' sums cheap, few enough to stay in the
// second-level cache and to leave 32 groups where there is much to do.
i64 rows_of_a_group(i64 outer, i64 c) {
    const i64 least = 2 * GRAIN / std::max<i64>(1, c);
    return std::max({i64{16}, least, std::min(4 * least, ceil_div(outer, 32))});
}

// Sums over memory (outer, c, inner) per channel: f(element offset, acc, outer count, channel count); acc has `per`
// values a channel. Channels-last is cut over outer, planes over channels (one plane after the other).
template <class F>
Status channel_sums(i64 outer, i64 c, i64 inner, i64 per, double* acc, F&& f) {
    std::fill(acc, acc + per * c, 0.0);
    if (inner > 1) {
        return ranges(c, outer * inner, [&](i64 k, i64 count) {
            for (i64 o = 0; o < outer; ++o) f((o * c + k) * inner, k, acc + k, i64{1}, count);
        });
    }
    const i64 group = rows_of_a_group(outer, c), groups = ceil_div(outer, group);
    if (groups <= 1) {
        f(0, 0, acc, outer, c);
        return OK;
    }
    Scratch partial(groups * per * c * static_cast<i64>(sizeof(double)));
    if (partial.failed()) return NO_MEMORY;
    Status status = parallel_for(groups, [&](i64 t) {
        double* mine = partial.get<double>() + t * per * c;
        std::fill(mine, mine + per * c, 0.0);
        f(t * group * c, 0, mine, std::min(group, outer - t * group), c);
    });
    for (i64 t = 0; t < groups; ++t)
        for (i64 k = 0; k < per * c; ++k) acc[k] += partial.get<double>()[t * per * c + k];
    return status;
}

// f(element offset, first channel, outer count, channel count) over all of memory.
template <class F>
Status channel_ranges(i64 outer, i64 c, i64 inner, F&& f) {
    if (inner > 1) {
        return ranges(outer * c, inner, [&](i64 plane, i64 count) {
            while (count > 0) {
                const i64 k = plane % c, here = std::min(count, c - k);
                f(plane * inner, k, i64{1}, here);
                plane += here;
                count -= here;
            }
        });
    }
    return ranges(outer, c, [&](i64 o, i64 count) { f(o * c, i64{0}, count, c); });
}

}  // namespace

namespace {

// The mean of each channel, and in `squares` the sum of squared deviations from it.
template <class T>
Status statistics(const T* x, T* mean, double* squares, i64 outer, i64 c, i64 inner, const ChannelLoops<T>& l) {
    const i64 group = rows_of_a_group(outer, c), groups = ceil_div(outer, group);
    const double count = static_cast<double>(outer) * static_cast<double>(inner);
    if (inner > 1 || groups <= 1) {
        Status status = channel_sums(outer, c, inner, 1, squares, [&](i64 at, i64, double* a, i64 o, i64 k) { l.channel_sum(x + at, nullptr, a, o, k, inner); });
        if (status != OK) return status;
        for (i64 k = 0; k < c; ++k) mean[k] = static_cast<T>(squares[k] / count);
        return channel_sums(outer, c, inner, 1, squares, [&](i64 at, i64 first, double* a, i64 o, i64 k) { l.channel_sum(x + at, mean + first, a, o, k, inner); });
    }
    // Each group of rows is small enough to be read twice from the cache: it gives its own mean and squares, which are
    // combined in order (Chan et al. 1983).
    const i64 each = 2 * c * static_cast<i64>(sizeof(double)) + ceil_div(c * static_cast<i64>(sizeof(T)), 64) * 64;
    Scratch partial(groups * each);
    if (partial.failed()) return NO_MEMORY;
    const Status status = parallel_for(groups, [&](i64 t) {
        double *sum = reinterpret_cast<double*>(partial.get() + t * each), *square = sum + c;
        T* own = reinterpret_cast<T*>(square + c);
        const i64 rows = std::min(group, outer - t * group);
        std::fill(sum, sum + 2 * c, 0.0);
        l.channel_sum(x + t * group * c, nullptr, sum, rows, c, 1);
        for (i64 k = 0; k < c; ++k) own[k] = static_cast<T>(sum[k] / static_cast<double>(rows));
        l.channel_sum(x + t * group * c, own, square, rows, c, 1);
    });
    if (status != OK) return status;
    Scratch total(c * static_cast<i64>(sizeof(double)));
    if (total.failed()) return NO_MEMORY;
    double* centre = total.get<double>();
    std::fill(centre, centre + c, 0.0);
    std::fill(squares, squares + c, 0.0);
    for (i64 t = 0; t < groups; ++t) {
        const double* sum = reinterpret_cast<const double*>(partial.get() + t * each);
        for (i64 k = 0; k < c; ++k) centre[k] += sum[k];
    }
    for (i64 k = 0; k < c; ++k) centre[k] /= count;
    for (i64 t = 0; t < groups; ++t) {
        const double *sum = reinterpret_cast<const double*>(partial.get() + t * each), *square = sum + c;
        const T* own = reinterpret_cast<const T*>(square + c);
        const double rows = static_cast<double>(std::min(group, outer - t * group));
        for (i64 k = 0; k < c; ++k) {
            // `square` is about `own`, the rounded mean of the group: exact for any centre
            const double at = static_cast<double>(own[k]), shift = centre[k] - at;
            squares[k] += square[k] - 2 * shift * (sum[k] - rows * at) + rows * shift * shift;
        }
    }
    for (i64 k = 0; k < c; ++k) {
        squares[k] = std::max(squares[k], 0.0);
        mean[k] = static_cast<T>(centre[k]);
    }
    return OK;
}

}  // namespace

Status run_batch_norm(int dtype, const void* x, const void* w, const void* b, void* y, void* mean, void* rstd, i64 outer, i64 c, i64 inner, double eps, Follow follow) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        const auto& l = loops<T>();
        Scratch memory(c * static_cast<i64>(sizeof(double) + sizeof(T)) + 64);
        if (memory.failed()) return NO_MEMORY;
        double* acc = memory.get<double>();
        T* scale = reinterpret_cast<T*>(acc + c);
        const double count = static_cast<double>(outer) * static_cast<double>(inner);
        T *m = out<T>(mean), *s = out<T>(rstd);
        const Status status = statistics(in<T>(x), m, acc, outer, c, inner, l);
        if (status != OK) return status;
        for (i64 k = 0; k < c; ++k) {
            s[k] = static_cast<T>(1.0 / std::sqrt(acc[k] / count + eps));
            scale[k] = w ? s[k] * in<T>(w)[k] : s[k];
        }
        return channel_ranges(outer, c, inner, [&](i64 at, i64 first, i64 o, i64 k) {
            l.channel_scale(in<T>(x) + at, m + first, scale + first, b ? in<T>(b) + first : nullptr, out<T>(y) + at, o, k, inner, follow);
        });
    });
}

Status run_batch_norm_scale(int dtype, const void* x, const void* mean, const void* var, const void* w, const void* b, void* y, i64 outer, i64 c, i64 inner, double eps, Follow follow) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        Scratch memory(c * static_cast<i64>(sizeof(T)) + 64);
        if (memory.failed()) return NO_MEMORY;
        T* scale = memory.get<T>();
        for (i64 k = 0; k < c; ++k) {
            scale[k] = static_cast<T>(1.0 / std::sqrt(static_cast<double>(in<T>(var)[k]) + eps));
            if (w) scale[k] *= in<T>(w)[k];
        }
        return channel_ranges(outer, c, inner, [&](i64 at, i64 first, i64 o, i64 k) {
            loops<T>().channel_scale(in<T>(x) + at, in<T>(mean) + first, scale + first, b ? in<T>(b) + first : nullptr, out<T>(y) + at, o, k, inner, follow);
        });
    });
}

void run_batch_norm_running(int dtype, const void* running_mean, const void* running_var, const void* mean, const void* rstd, void* new_mean, void* new_var, i64 c, double momentum, double count, double eps) {
    typed(dtype, [&](auto type) {
        using T = decltype(type);
        for (i64 k = 0; k < c; ++k) {
            const double r = static_cast<double>(in<T>(rstd)[k]), var = std::max(1.0 / (r * r) - eps, 0.0) * (count / (count - 1.0));
            out<T>(new_mean)[k] = static_cast<T>(in<T>(running_mean)[k] * (1.0 - momentum) + in<T>(mean)[k] * momentum);
            out<T>(new_var)[k] = static_cast<T>(in<T>(running_var)[k] * (1.0 - momentum) + var * momentum);
        }
        return OK;
    });
}

Status run_batch_norm_grad(int dtype, const void* g, const void* x, const void* w, const void* b, const void* mean, const void* rstd, void* gx, void* gw, void* gb, i64 outer, i64 c, i64 inner, Follow follow) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        const auto& l = loops<T>();
        Scratch memory(c * static_cast<i64>(2 * sizeof(double) + 3 * sizeof(T)) + 64);
        if (memory.failed()) return NO_MEMORY;
        double* acc = memory.get<double>();
        T* scale = reinterpret_cast<T*>(acc + 2 * c);
        T *share_b = scale + c, *share_w = scale + 2 * c;
        const T* s = in<T>(rstd);
        for (i64 k = 0; k < c; ++k) scale[k] = w ? s[k] * in<T>(w)[k] : s[k];
        const NormChannels<T> n{in<T>(mean), s, scale, in<T>(b)};
        Status status = channel_sums(outer, c, inner, 2, acc, [&](i64 at, i64 first, double* a, i64 o, i64 k) {
            l.channel_grad_sum(in<T>(g) + at, in<T>(x) + at, n.from(first), a, o, k, inner, c, follow);
        });
        if (status != OK) return status;
        const double count = static_cast<double>(outer) * static_cast<double>(inner);
        for (i64 k = 0; k < c; ++k) {
            out<T>(gb)[k] = static_cast<T>(acc[k]);
            out<T>(gw)[k] = static_cast<T>(acc[c + k]);
            share_b[k] = static_cast<T>(acc[k] / count);
            share_w[k] = static_cast<T>(acc[c + k] / count);
        }
        return channel_ranges(outer, c, inner, [&](i64 at, i64 first, i64 o, i64 k) {
            l.channel_grad(in<T>(g) + at, in<T>(x) + at, n.from(first), share_b + first, share_w + first, out<T>(gx) + at, o, k, inner, follow);
        });
    });
}

}  // namespace mlcore_cpu
