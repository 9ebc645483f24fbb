// Drivers of root-mean-square normalisation: groups of rows as tasks, by shape only.
#include "rms_norm.hpp"

#include <algorithm>

#include "alloc.hpp"
#include "drivers.hpp"

namespace mlcore_cpu {
namespace {

template <class T> const RmsLoops<T>& loops();
template <> const RmsLoops<float>& loops<float>() { return table().rms->f32; }
template <> const RmsLoops<double>& loops<double>() { return table().rms->f64; }

}  // namespace

Status run_rms_norm(int dtype, const void* x, const void* w, void* y, void* rstd, i64 rows, i64 n, double eps) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        return ranges(rows, n, [&](i64 r, i64 count) {
            loops<T>().forward(in<T>(x) + r * n, in<T>(w), out<T>(y) + r * n, out<T>(rstd) + r, count, n, eps);
        });
    });
}

Status run_rms_norm_grad(int dtype, const void* g, const void* x, const void* w, const void* rstd, void* gx, void* gw, i64 rows, i64 n) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        // Rows in groups; each keeps its own sums for the weight, combined in order in double.
        const i64 group = std::min<i64>(256, std::max({i64{16}, GRAIN / std::max<i64>(1, n), ceil_div(rows, 64)})), groups = ceil_div(rows, group);
        Scratch sums(std::max<i64>(1, groups) * n * static_cast<i64>(sizeof(T)));
        if (sums.failed()) return NO_MEMORY;
        const auto work = [&](i64 t) {
            const i64 r = t * group;
            T* mine = sums.get<T>() + t * n;
            std::fill(mine, mine + n, T(0));
            loops<T>().backward(in<T>(g) + r * n, in<T>(x) + r * n, in<T>(w), in<T>(rstd) + r, out<T>(gx) + r * n, mine, std::min(group, rows - r), n);
        };
        if (rows * n < INLINE_BELOW) {
            for (i64 t = 0; t < groups; ++t) work(t);
        } else {
            const Status status = parallel_for(groups, work);
            if (status != OK) return status;
        }
        constexpr i64 TILE = 256;
        return ranges(ceil_div(n, TILE), groups * TILE, [&](i64 first, i64 count) {
            for (i64 start = first * TILE; start < std::min(n, (first + count) * TILE); start += TILE) {
                const i64 width = std::min(TILE, n - start);
                double total[TILE] = {};
                for (i64 t = 0; t < groups; ++t) {
                    const T* part = sums.get<T>() + t * n + start;
                    for (i64 j = 0; j < width; ++j) total[j] += static_cast<double>(part[j]);
                }
                for (i64 j = 0; j < width; ++j) out<T>(gw)[start + j] = static_cast<T>(total[j]);
            }
        });
    });
}

}  // namespace mlcore_cpu
