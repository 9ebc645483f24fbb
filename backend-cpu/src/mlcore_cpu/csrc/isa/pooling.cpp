// Pooling over up to three spatial dimensions of memory (outer, D, H, W, inner); one call does the columns
// [first, first + width) of the inner axis of one outer plane.
#include <limits>

#include "../pool.hpp"
#include "../pooling.hpp"
#include "isa_tables.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

constexpr i64 POOL_TILE = 64;
constexpr i64 BREATH = 1 << 17;  // elements, of `POOL_TILE` columns at most, between two looks for Ctrl-C

// Calls f(output element, window begin and end per axis) for the windows of a plane.
struct Window {
    i64 start[3], begin[3], end[3];  // input position of kernel element 0; the kernel elements that lie inside
};
template <class F>
INL void each_window(const PoolShape& s, F&& f) {
    i64 at[3];
    Window w;
    const i64 row = s.out[2] * s.kernel[0] * s.kernel[1] * s.kernel[2];
    i64 seen = 0;
    for (at[0] = 0; at[0] < s.out[0]; ++at[0])
        for (at[1] = 0; at[1] < s.out[1]; ++at[1]) {
            if ((seen += row) > BREATH) {
                if (interrupted()) return;
                seen = 0;
            }
            for (at[2] = 0; at[2] < s.out[2]; ++at[2]) {
                for (int d = 0; d < 3; ++d) {
                    w.start[d] = at[d] * s.stride[d] - s.pad_lo[d];
                    w.begin[d] = w.start[d] >= 0 ? 0 : ceil_div(-w.start[d], s.dilation[d]);
                    const i64 room = s.in[d] - w.start[d];
                    w.end[d] = room <= 0 ? 0 : ceil_div(room, s.dilation[d]);
                    if (w.end[d] > s.kernel[d]) w.end[d] = s.kernel[d];
                }
                f((at[0] * s.out[1] + at[1]) * s.out[2] + at[2], w);
            }
        }
}
// Calls f(input element) for the kernel elements of a window, in row-major order.
template <class F>
INL void each_element(const PoolShape& s, const Window& w, F&& f) {
    const bool large = s.kernel[0] * s.kernel[1] * s.kernel[2] > BREATH;
    i64 seen = 0;
    for (i64 a = w.begin[0]; a < w.end[0]; ++a)
        for (i64 b = w.begin[1]; b < w.end[1]; ++b) {
            if (large && (seen += w.end[2]) > BREATH) {
                if (interrupted()) return;
                seen = 0;
            }
            const i64 row = ((w.start[0] + a * s.dilation[0]) * s.in[1] + w.start[1] + b * s.dilation[1]) * s.in[2] + w.start[2];
            for (i64 c = w.begin[2]; c < w.end[2]; ++c) f(row + c * s.dilation[2]);
        }
}
INL i64 plane_in(const PoolShape& s) { return s.in[0] * s.in[1] * s.in[2] * s.inner; }
INL i64 plane_out(const PoolShape& s) { return s.out[0] * s.out[1] * s.out[2] * s.inner; }
template <class T> INL T divisor(const PoolShape& s, const Window& w) {
    i64 n = 1;
    for (int d = 0; d < 3; ++d) n *= s.include_pad ? s.kernel[d] : w.end[d] - w.begin[d];
    return static_cast<T>(n);
}

template <class T>
void max_pool(const T* x, T* y, const PoolShape& s, i64 plane, i64 first, i64 width) {
    x += plane * plane_in(s) + first;
    y += plane * plane_out(s) + first;
    if (s.inner == 1) {
        each_window(s, [&](i64 o, const Window& w) {
            T best = -std::numeric_limits<T>::infinity();
            each_element(s, w, [&](i64 i) { best = max(best, x[i]); });
            y[o] = best;
        });
        return;
    }
    each_window(s, [&](i64 o, const Window& w) {
        T best[POOL_TILE];
        for (i64 j = 0; j < width; ++j) best[j] = -std::numeric_limits<T>::infinity();
        each_element(s, w, [&](i64 i) {
            const T* __restrict a = x + i * s.inner;
            for (i64 j = 0; j < width; ++j) best[j] = max(best[j], a[j]);
        });
        for (i64 j = 0; j < width; ++j) y[o * s.inner + j] = best[j];
    });
}

// gx is zero before. Each window's gradient goes to its first largest element (a NaN is the largest).
template <class T>
void max_pool_grad(const T* g, const T* x, T* gx, const PoolShape& s, i64 plane, i64 first, i64 width) {
    x += plane * plane_in(s) + first;
    gx += plane * plane_in(s) + first;
    g += plane * plane_out(s) + first;
    each_window(s, [&](i64 o, const Window& w) {
        T best[POOL_TILE];
        std::int32_t where[POOL_TILE];
        bool start = true;
        each_element(s, w, [&](i64 i) {
            const T* __restrict a = x + i * s.inner;
            const std::int32_t at = static_cast<std::int32_t>(i);
            for (i64 j = 0; j < width; ++j) {
                const bool take = start | (a[j] > best[j]) | ((a[j] != a[j]) & (best[j] == best[j]));
                best[j] = take ? a[j] : best[j];
                where[j] = take ? at : where[j];
            }
            start = false;
        });
        if (start) return;  // the window lies in the padding
        if (width == 1) {
            gx[static_cast<i64>(where[0]) * s.inner] += g[o * s.inner];
            return;
        }
        const T* __restrict d = g + o * s.inner;
        each_element(s, w, [&](i64 i) {
            T* __restrict a = gx + i * s.inner;
            const std::int32_t at = static_cast<std::int32_t>(i);
            for (i64 j = 0; j < width; ++j) a[j] += where[j] == at ? d[j] : T(0);
        });
    });
}

template <class T>
void avg_pool(const T* x, T* y, const PoolShape& s, i64 plane, i64 first, i64 width) {
    x += plane * plane_in(s) + first;
    y += plane * plane_out(s) + first;
    each_window(s, [&](i64 o, const Window& w) {
        T sum[POOL_TILE];
        for (i64 j = 0; j < width; ++j) sum[j] = T(0);
        each_element(s, w, [&](i64 i) {
            const T* __restrict a = x + i * s.inner;
            for (i64 j = 0; j < width; ++j) sum[j] += a[j];
        });
        const T count = divisor<T>(s, w);
        for (i64 j = 0; j < width; ++j) y[o * s.inner + j] = sum[j] / count;
    });
}

template <class T>
void avg_pool_grad(const T* g, T* gx, const PoolShape& s, i64 plane, i64 first, i64 width) {
    gx += plane * plane_in(s) + first;
    g += plane * plane_out(s) + first;
    each_window(s, [&](i64 o, const Window& w) {
        const T count = divisor<T>(s, w);
        T share[POOL_TILE];
        for (i64 j = 0; j < width; ++j) share[j] = g[o * s.inner + j] / count;
        each_element(s, w, [&](i64 i) {
            T* __restrict a = gx + i * s.inner;
            for (i64 j = 0; j < width; ++j) a[j] += share[j];
        });
    });
}

template <class T>
PoolLoops<T> loops() {
    return {&max_pool<T>, &max_pool_grad<T>, &avg_pool<T>, &avg_pool_grad<T>};
}

}  // namespace

const PoolTable* pool_table() {
    static const PoolTable pooling{loops<float>(), loops<double>()};
    return &pooling;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
