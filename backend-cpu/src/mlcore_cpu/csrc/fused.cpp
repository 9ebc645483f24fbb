// Drivers of the fused kernels: rows, channels, planes and ranges as tasks for the pool, by shape only.
#include "fused.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "alloc.hpp"
#include "elementwise.hpp"
#include "pool.hpp"

namespace mlcore_cpu {
namespace {

constexpr i64 GRAIN = 16 * 1024;  // elements per task

template <class T> const FusedLoops<T>& loops();
template <> const FusedLoops<float>& loops<float>() { return table().fused->f32; }
template <> const FusedLoops<double>& loops<double>() { return table().fused->f64; }

// Calls f with a value of the C++ type of dtype: auto in f's argument is float or double.
template <class F>
Status typed(int dtype, F&& f) {
    return dtype == F32 ? f(float{}) : f(double{});
}
template <class T> const T* in(const void* p) { return static_cast<const T*>(p); }
template <class T> T* out(void* p) { return static_cast<T*>(p); }

// f(first, count) over [0, total) in tasks of about GRAIN elements; small work inline.
template <class F>
Status ranges(i64 total, i64 cost, F&& f) {
    if (total <= 0) return OK;
    const i64 each = std::max<i64>(1, GRAIN / std::max<i64>(1, cost));
    if (total * cost < INLINE_BELOW) {
        f(0, total);
        return OK;
    }
    return parallel_for(ceil_div(total, each), [&](i64 task) { f(task * each, std::min(each, total - task * each)); });
}

}  // namespace

Status run_rows(RowOp op, int dtype, const void* x, void* y, i64 rows, i64 n) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        const auto& l = loops<T>();
        return ranges(rows, n, [&](i64 r, i64 count) {
            if (op == RowOp::softmax) l.softmax(in<T>(x) + r * n, out<T>(y) + r * n, count, n);
            else if (op == RowOp::log_softmax) l.log_softmax(in<T>(x) + r * n, out<T>(y) + r * n, count, n);
            else l.logsumexp(in<T>(x) + r * n, out<T>(y) + r, count, n);
        });
    });
}

Status run_rows_grad(RowOp op, int dtype, const void* g, const void* y, void* gx, i64 rows, i64 n) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        const auto f = op == RowOp::softmax ? loops<T>().softmax_grad : loops<T>().log_softmax_grad;
        return ranges(rows, n, [&](i64 r, i64 count) { f(in<T>(g) + r * n, in<T>(y) + r * n, out<T>(gx) + r * n, count, n); });
    });
}

Status run_cross_entropy(int dtype, const void* x, const i64* target, void* loss, void* lse, i64 rows, i64 n) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        return ranges(rows, n, [&](i64 r, i64 count) {
            loops<T>().cross_entropy(in<T>(x) + r * n, target + r, out<T>(loss) + r, out<T>(lse) + r, count, n);
        });
    });
}

Status run_cross_entropy_grad(int dtype, const void* g, const void* x, const i64* target, const void* lse, void* gx, i64 rows, i64 n) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        return ranges(rows, n, [&](i64 r, i64 count) {
            loops<T>().cross_entropy_grad(in<T>(g) + r, in<T>(x) + r * n, target + r, in<T>(lse) + r, out<T>(gx) + r * n, count, n);
        });
    });
}

Status run_layer_norm(int dtype, const void* x, const void* w, const void* b, void* y, void* mean, void* rstd, i64 rows, i64 n, double eps) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        return ranges(rows, n, [&](i64 r, i64 count) {
            loops<T>().layer_norm(in<T>(x) + r * n, in<T>(w), in<T>(b), out<T>(y) + r * n, out<T>(mean) + r, out<T>(rstd) + r, count, n, eps);
        });
    });
}

Status run_layer_norm_grad(int dtype, const void* g, const void* x, const void* w, const void* mean, const void* rstd, void* gx, void* gw, void* gb, i64 rows, i64 n) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        // Rows in groups; each keeps its own sums for the weight and the bias, combined in order in double.
        const i64 group = std::min<i64>(256, std::max<i64>(16, GRAIN / std::max<i64>(1, n)));
        const i64 groups = ceil_div(rows, group);
        Scratch sums(std::max<i64>(1, groups) * 2 * n * static_cast<i64>(sizeof(T)));
        if (sums.failed()) return NO_MEMORY;
        auto work = [&](i64 t) {
            const i64 r = t * group, count = std::min(group, rows - r);
            T* mine = sums.get<T>() + t * 2 * n;
            std::fill(mine, mine + 2 * n, T(0));
            loops<T>().layer_norm_grad(in<T>(g) + r * n, in<T>(x) + r * n, in<T>(w), in<T>(mean) + r, in<T>(rstd) + r, out<T>(gx) + r * n, mine, mine + n, count, n);
        };
        Status status = OK;
        if (rows * n < INLINE_BELOW) {
            for (i64 t = 0; t < groups; ++t) work(t);
        } else {
            status = parallel_for(groups, work);
        }
        if (status != OK) return status;
        for (i64 i = 0; i < 2 * n; ++i) {
            double total = 0;
            for (i64 t = 0; t < groups; ++t) total += static_cast<double>(sums.get<T>()[t * 2 * n + i]);
            (i < n ? out<T>(gw)[i] : out<T>(gb)[i - n]) = static_cast<T>(total);
        }
        return status;
    });
}

namespace {

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
    const i64 group = std::max<i64>(16, GRAIN / std::max<i64>(1, c)), groups = ceil_div(outer, group);
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

Status run_batch_norm(int dtype, const void* x, const void* w, const void* b, void* y, void* mean, void* rstd, i64 outer, i64 c, i64 inner, double eps) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        const auto& l = loops<T>();
        Scratch memory(c * static_cast<i64>(sizeof(double) + sizeof(T)) + 64);
        if (memory.failed()) return NO_MEMORY;
        double* acc = memory.get<double>();
        T* scale = reinterpret_cast<T*>(acc + c);
        const double count = static_cast<double>(outer) * static_cast<double>(inner);
        T *m = out<T>(mean), *s = out<T>(rstd);
        Status status = channel_sums(outer, c, inner, 1, acc, [&](i64 at, i64, double* a, i64 o, i64 k) { l.channel_sum(in<T>(x) + at, nullptr, a, o, k, inner); });
        if (status != OK) return status;
        for (i64 k = 0; k < c; ++k) m[k] = static_cast<T>(acc[k] / count);
        status = channel_sums(outer, c, inner, 1, acc, [&](i64 at, i64 first, double* a, i64 o, i64 k) { l.channel_sum(in<T>(x) + at, m + first, a, o, k, inner); });
        if (status != OK) return status;
        for (i64 k = 0; k < c; ++k) {
            s[k] = static_cast<T>(1.0 / std::sqrt(acc[k] / count + eps));
            scale[k] = w ? s[k] * in<T>(w)[k] : s[k];
        }
        return channel_ranges(outer, c, inner, [&](i64 at, i64 first, i64 o, i64 k) {
            l.channel_scale(in<T>(x) + at, m + first, scale + first, b ? in<T>(b) + first : nullptr, out<T>(y) + at, o, k, inner);
        });
    });
}

Status run_batch_norm_grad(int dtype, const void* g, const void* x, const void* w, const void* mean, const void* rstd, void* gx, void* gw, void* gb, i64 outer, i64 c, i64 inner) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        const auto& l = loops<T>();
        Scratch memory(c * static_cast<i64>(2 * sizeof(double) + 3 * sizeof(T)) + 64);
        if (memory.failed()) return NO_MEMORY;
        double* acc = memory.get<double>();
        T* scale = reinterpret_cast<T*>(acc + 2 * c);
        T *share_b = scale + c, *share_w = scale + 2 * c;
        const T *m = in<T>(mean), *s = in<T>(rstd);
        Status status = channel_sums(outer, c, inner, 2, acc, [&](i64 at, i64 first, double* a, i64 o, i64 k) {
            l.channel_grad_sum(in<T>(g) + at, in<T>(x) + at, m + first, s + first, a, o, k, inner, c);
        });
        if (status != OK) return status;
        const double count = static_cast<double>(outer) * static_cast<double>(inner);
        for (i64 k = 0; k < c; ++k) {
            out<T>(gb)[k] = static_cast<T>(acc[k]);
            out<T>(gw)[k] = static_cast<T>(acc[c + k]);
            share_b[k] = static_cast<T>(acc[k] / count);
            share_w[k] = static_cast<T>(acc[c + k] / count);
            scale[k] = w ? s[k] * in<T>(w)[k] : s[k];
        }
        return channel_ranges(outer, c, inner, [&](i64 at, i64 first, i64 o, i64 k) {
            l.channel_grad(in<T>(g) + at, in<T>(x) + at, m + first, s + first, scale + first, share_b + first, share_w + first, out<T>(gx) + at, o, k, inner);
        });
    });
}

namespace {

constexpr i64 POOL_TILE = 64;  // columns of the inner axis a task does

template <class F>
Status over_planes(const PoolShape& s, F&& f) {
    const i64 tiles = ceil_div(s.inner, POOL_TILE);
    i64 cost = std::min(s.inner, POOL_TILE);
    for (int d = 0; d < 3; ++d) cost *= s.out[d] * s.kernel[d];
    return ranges(s.outer * tiles, cost, [&](i64 first, i64 count) {
        for (i64 i = first; i < first + count; ++i) {
            const i64 column = i % tiles * POOL_TILE;
            f(i / tiles, column, std::min(POOL_TILE, s.inner - column));
        }
    });
}

}  // namespace

Status run_pool(PoolOp op, int dtype, const PoolShape& s, const void* x, void* y) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        const auto f = op == PoolOp::max ? loops<T>().max_pool : loops<T>().avg_pool;
        return over_planes(s, [&](i64 plane, i64 first, i64 width) { f(in<T>(x), out<T>(y), s, plane, first, width); });
    });
}

Status run_pool_grad(PoolOp op, int dtype, const PoolShape& s, const void* g, const void* x, void* gx) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        i64 total = s.outer * s.inner * s.in[0] * s.in[1] * s.in[2];
        Status status = ranges(total, 1, [&](i64 first, i64 count) { std::memset(out<T>(gx) + first, 0, count * sizeof(T)); });
        if (status != OK) return status;
        return over_planes(s, [&](i64 plane, i64 first, i64 width) {
            if (op == PoolOp::max) loops<T>().max_pool_grad(in<T>(g), in<T>(x), out<T>(gx), s, plane, first, width);
            else loops<T>().avg_pool_grad(in<T>(g), out<T>(gx), s, plane, first, width);
        });
    });
}

Status run_dropout(int dtype, const void* x, void* y, i64 n, std::uint32_t k0, std::uint32_t k1, std::uint64_t counter, double p) {
    const auto threshold = static_cast<std::uint32_t>(std::ceil(p * 16777216.0));
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        const T scale = static_cast<T>(1.0 / (1.0 - p));
        return ranges(n, 1, [&](i64 first, i64 count) {
            loops<T>().dropout(in<T>(x) + first, out<T>(y) + first, count, k0, k1, counter + static_cast<std::uint64_t>(first), threshold, scale);
        });
    });
}

Status run_threefry(std::uint32_t k0, std::uint32_t k1, std::uint64_t counter, std::uint32_t* y, i64 n) {
    return ranges(n, 1, [&](i64 first, i64 count) { table().fused->threefry(k0, k1, counter + static_cast<std::uint64_t>(first), y + first, count); });
}

namespace {

// All arrays of a step as one list of ranges, so that many small parameters share tasks.
template <class T, class F>
Status over_arrays(const StepArrays* arrays, i64 count, F&& f) {
    i64 total = 0;
    std::vector<i64> start(static_cast<std::size_t>(count) + 1, 0);
    for (i64 i = 0; i < count; ++i) start[static_cast<std::size_t>(i) + 1] = total += arrays[i].n;
    return ranges(total, 1, [&](i64 first, i64 n) {
        auto at = std::upper_bound(start.begin(), start.end(), first) - start.begin() - 1;
        while (n > 0) {
            const i64 offset = first - start[static_cast<std::size_t>(at)];
            const i64 here = std::min(n, arrays[at].n - offset);
            if (here > 0) f(arrays[at], offset, here);
            first += here;
            n -= here;
            ++at;
        }
    });
}

}  // namespace

Status run_adam(int dtype, const StepArrays* arrays, i64 count, const AdamParams& params) try {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        return over_arrays<T>(arrays, count, [&](const StepArrays& a, i64 at, i64 n) {
            loops<T>().adam(in<T>(a.p) + at, in<T>(a.g) + at, in<T>(a.m) + at, in<T>(a.v) + at, out<T>(a.p2) + at, out<T>(a.m2) + at, out<T>(a.v2) + at, n, params);
        });
    });
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}

Status run_sgd(int dtype, const StepArrays* arrays, i64 count, const SgdParams& params) try {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        return over_arrays<T>(arrays, count, [&](const StepArrays& a, i64 at, i64 n) {
            loops<T>().sgd(in<T>(a.p) + at, in<T>(a.g) + at, a.m ? in<T>(a.m) + at : nullptr, out<T>(a.p2) + at, a.m ? out<T>(a.m2) + at : nullptr, n, params);
        });
    });
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}

Status run_gather(const char* x, const i64* indices, char* y, i64 outer, i64 size, i64 count, i64 inner_bytes) {
    return ranges(outer * count, std::max<i64>(1, inner_bytes / 4), [&](i64 first, i64 n) {
        for (i64 i = first; i < first + n; ++i)
            std::memcpy(y + i * inner_bytes, x + (i / count * size + indices[i % count]) * inner_bytes, inner_bytes);
    });
}

Status run_index_add(int dtype, void* y, const i64* indices, const void* values, i64 outer, i64 size, i64 count, i64 inner) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        constexpr i64 TILE = 64;  // columns: a task owns them, so repeated indices never race
        const i64 tiles = ceil_div(inner, TILE);
        return ranges(outer * tiles, count * std::min(inner, TILE), [&](i64 first, i64 n) {
            for (i64 t = first; t < first + n; ++t) {
                const i64 o = t / tiles, column = t % tiles * TILE, width = std::min(TILE, inner - column);
                T* base = out<T>(y) + o * size * inner + column;
                const T* from = in<T>(values) + o * count * inner + column;
                for (i64 i = 0; i < count; ++i) loops<T>().accumulate(base + indices[i] * inner, from + i * inner, width);
            }
        });
    });
}

Status run_scatter(char* y, const i64* indices, const char* values, i64 outer, i64 size, i64 count, i64 inner_bytes) {
    return ranges(outer, count * std::max<i64>(1, inner_bytes / 4), [&](i64 first, i64 n) {
        for (i64 o = first; o < first + n; ++o)
            for (i64 i = 0; i < count; ++i)
                std::memcpy(y + (o * size + indices[i]) * inner_bytes, values + (o * count + i) * inner_bytes, inner_bytes);
    });
}

}  // namespace mlcore_cpu
