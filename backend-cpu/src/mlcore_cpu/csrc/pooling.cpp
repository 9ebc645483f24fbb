// Drivers of pooling: planes, cut into columns of the inner axis, as tasks.
#include "pooling.hpp"

#include <cstring>

#include "drivers.hpp"
#include "tables.hpp"

namespace mlcore_cpu {
namespace {

template <class T> const PoolLoops<T>& loops();
template <> const PoolLoops<float>& loops<float>() { return table().pooling->f32; }
template <> const PoolLoops<double>& loops<double>() { return table().pooling->f64; }

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

}  // namespace mlcore_cpu
