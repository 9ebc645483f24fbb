// Drivers of the fused kernels: rows and ranges as tasks for the pool, by shape only.
#include "fused.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "alloc.hpp"
#include "drivers.hpp"

namespace mlcore_cpu {
namespace {

template <class T> const FusedLoops<T>& loops();
template <> const FusedLoops<float>& loops<float>() { return table().fused->f32; }
template <> const FusedLoops<double>& loops<double>() { return table().fused->f64; }

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
        const i64 group = std::min<i64>(256, std::max({i64{16}, GRAIN / std::max<i64>(1, n), ceil_div(rows, 64)}));
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
        constexpr i64 TILE = 256;
        status = ranges(ceil_div(2 * n, TILE), groups * TILE, [&](i64 first, i64 count) {
            for (i64 tile = first; tile < first + count; ++tile) {
                const i64 start = tile * TILE, width = std::min(TILE, 2 * n - start);
                double total[TILE] = {};
                for (i64 t = 0; t < groups; ++t) {
                    const T* part = sums.get<T>() + t * 2 * n + start;
                    for (i64 j = 0; j < width; ++j) total[j] += static_cast<double>(part[j]);
                }
                for (i64 j = 0; j < width; ++j) {
                    const i64 i = start + j;
                    (i < n ? out<T>(gw)[i] : out<T>(gb)[i - n]) = static_cast<T>(total[j]);
                }
            }
        });
        return status;
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

Status run_squared_error(int dtype, const void* x, const void* target, void* y, i64 n, double scale) {
    constexpr i64 PART = 32 * 1024;
    const i64 parts = ceil_div(n, PART);
    Scratch sums(parts * static_cast<i64>(sizeof(double)));
    if (sums.failed()) return NO_MEMORY;
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        const auto part = [&](i64 p) {
            const i64 first = p * PART, count = std::min(PART, n - first);
            sums.get<double>()[p] = loops<T>().squared_error(in<T>(x) + first, in<T>(target) + first, count);
        };
        Status status = OK;
        if (parts <= 1) for (i64 p = 0; p < parts; ++p) part(p);
        else status = parallel_for(parts, part);
        double total = 0;
        for (i64 p = 0; p < parts; ++p) total += sums.get<double>()[p];
        *out<T>(y) = static_cast<T>(total * scale);
        return status;
    });
}
Status run_squared_error_grad(int dtype, const void* g, const void* x, const void* target, void* gx, i64 n, double scale) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        const T by = static_cast<T>(static_cast<double>(*in<T>(g)) * 2 * scale);
        return ranges(n, 1, [&](i64 first, i64 count) {
            loops<T>().squared_error_grad(in<T>(x) + first, in<T>(target) + first, out<T>(gx) + first, count, by);
        });
    });
}
Status run_threefry(std::uint32_t k0, std::uint32_t k1, std::uint64_t counter, std::uint32_t* y, i64 n) {
    return ranges(n, 1, [&](i64 first, i64 count) { table().fused->threefry(k0, k1, counter + static_cast<std::uint64_t>(first), y + first, count); });
}

Status run_adam(int dtype, const StepArrays* arrays, i64 count, const AdamParams& given) try {
    AdamParams params = given;
    params.rate = given.lr / (1 - std::pow(given.beta1, static_cast<double>(given.step)));
    params.root = 1 / std::sqrt(1 - std::pow(given.beta2, static_cast<double>(given.step)));
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        return over_arrays(arrays, count, [&](const StepArrays& a, i64 at, i64 n) {
            loops<T>().adam(in<T>(a.p) + at, in<T>(a.g) + at, in<T>(a.m) + at, in<T>(a.v) + at, out<T>(a.p2) + at, out<T>(a.m2) + at, out<T>(a.v2) + at, n, params);
        });
    });
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}

Status run_sgd(int dtype, const StepArrays* arrays, i64 count, const SgdParams& params) try {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        return over_arrays(arrays, count, [&](const StepArrays& a, i64 at, i64 n) {
            loops<T>().sgd(in<T>(a.p) + at, in<T>(a.g) + at, a.m ? in<T>(a.m) + at : nullptr, out<T>(a.p2) + at, a.m ? out<T>(a.m2) + at : nullptr, n, params);
        });
    });
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}

}  // namespace mlcore_cpu
