#include "transpose.hpp"

#include <algorithm>

#include "pool.hpp"
#include "tables.hpp"

namespace mlcore_cpu {
namespace {

// The axes of a copy, outermost of `out` first, neighbours merged where both sides allow it.
struct Axes {
    int n = 0;
    i64 size[MAX_NDIM], from[MAX_NDIM], to[MAX_NDIM];  // strides of x and of out in bytes

    Axes(const View& x, const View& out) {
        int order[MAX_NDIM], count = 0;
        for (int d = 0; d < out.ndim; ++d)
            if (out.shape[d] != 1) order[count++] = d;
        std::stable_sort(order, order + count, [&](int a, int b) { return out.strides[a] > out.strides[b]; });
        for (int k = 0; k < count; ++k) {
            const int d = order[k];
            if (n && from[n - 1] == x.strides[d] * out.shape[d] && to[n - 1] == out.strides[d] * out.shape[d]) {
                size[n - 1] *= out.shape[d];
                from[n - 1] = x.strides[d];
                to[n - 1] = out.strides[d];
            } else {
                size[n] = out.shape[d];
                from[n] = x.strides[d];
                to[n++] = out.strides[d];
            }
        }
    }
};

constexpr i64 TILE = 64, SMALL = 4096;  // columns of a task at least; elements below which nobody cares
constexpr i64 MOST_ROWS = 16 * 1024;    // of a task: a multiple of the blocks that the loop turns in registers

}  // namespace

bool run_transpose(const View& x, const View& out, Status& status) {
    const i64 item = ITEMSIZE[out.dtype];
    if (x.dtype != out.dtype || item > 8 || out.ndim < 2 || out.size() < SMALL) return false;
    const Axes a(x, out);
    const int n = a.n;
    // The last axis of out runs along stride `ld` of x, the one before it along x's items.
    if (n < 2 || a.to[n - 1] != item || a.from[n - 2] != item || a.from[n - 1] <= item || a.from[n - 1] % item || a.to[n - 2] % item) return false;
    const i64 rows = a.size[n - 1], columns = a.size[n - 2];  // of x: `rows` rows of `columns` items
    i64 outer = 1;
    for (int d = 0; d < n - 2; ++d) outer *= a.size[d];
    const TransposeLoop loop = table().transpose[log2_itemsize(static_cast<int>(item))];
    const i64 width = std::max(TILE, ceil_div(std::max<i64>(1, 32 * 1024 / rows), TILE) * TILE), strips = ceil_div(columns, width);
    const i64 height = std::min(rows, MOST_ROWS), floors = ceil_div(rows, height);
    status = parallel_for(outer * strips * floors, [&](i64 task) {
        const i64 low = task % floors * height;
        const char* from = x.data + low * a.from[n - 1];
        char* to = out.data + low * item;
        task /= floors;
        i64 at = task / strips;
        for (int d = n - 3; d >= 0; --d) {
            from += at % a.size[d] * a.from[d];
            to += at % a.size[d] * a.to[d];
            at /= a.size[d];
        }
        const i64 first = task % strips * width;
        loop(from + first * item, a.from[n - 1] / item, to + first * a.to[n - 2], a.to[n - 2] / item, std::min(height, rows - low), std::min(width, columns - first));
    });
    return true;
}

}  // namespace mlcore_cpu
