// Running sums and products: groups of rows, or strips of columns, are tasks.
#include <algorithm>
#include <type_traits>

#include "drivers.hpp"
#include "order.hpp"

namespace mlcore_cpu {
namespace {

constexpr i64 BREATH = i64{1} << 18;  // elements between two looks for Ctrl-C

template <class T> using Sum = std::conditional_t<std::is_floating_point_v<T>, double, T>;
template <bool PRODUCT, class S>
S next(S total, S x) { return static_cast<S>(PRODUCT ? total * x : total + x); }

template <class T, bool PRODUCT>
void scan_rows(const T* x, T* y, i64 rows, i64 n) {
    constexpr int TOGETHER = 8;  // sums that do not wait for each other
    for (i64 r = 0; r < rows; r += TOGETHER, x += TOGETHER * n, y += TOGETHER * n) {
        Sum<T> total[TOGETHER];
        for (Sum<T>& one : total) one = PRODUCT;
        const int m = static_cast<int>(std::min<i64>(TOGETHER, rows - r));
        for (i64 start = 0; start < n; start += BREATH) {
            if (start > 0 && interrupted()) return;
            const i64 stop = std::min(n, start + BREATH);
            if (m == TOGETHER) {
                for (i64 i = start; i < stop; ++i)
                    for (int k = 0; k < TOGETHER; ++k)
                        y[k * n + i] = static_cast<T>(total[k] = next<PRODUCT>(total[k], static_cast<Sum<T>>(x[k * n + i])));
            } else {
                for (int k = 0; k < m; ++k)
                    for (i64 i = start; i < stop; ++i)
                        y[k * n + i] = static_cast<T>(total[k] = next<PRODUCT>(total[k], static_cast<Sum<T>>(x[k * n + i])));
            }
        }
    }
}

template <class T, bool PRODUCT>
void scan_columns(const T* x, T* y, i64 n, i64 inner, i64 first, i64 width) {
    Sum<T> total[512];
    for (i64 j = 0; j < width; ++j) total[j] = PRODUCT;
    for (i64 i = 0; i < n; ++i) {
        if (i % 1024 == 1023 && interrupted()) return;
        const T* __restrict a = x + i * inner + first;
        T* __restrict b = y + i * inner + first;
        for (i64 j = 0; j < width; ++j) b[j] = static_cast<T>(total[j] = next<PRODUCT>(total[j], static_cast<Sum<T>>(a[j])));
    }
}

template <class T, bool PRODUCT>
Status scan(const T* x, T* y, i64 outer, i64 n, i64 inner) {
    if (inner == 1) return ranges(ceil_div(outer, 8), 8 * n, [&](i64 group, i64 count) {
        const i64 r = group * 8;
        scan_rows<T, PRODUCT>(x + r * n, y + r * n, std::min(outer - r, count * 8), n);
    });
    const i64 strips = ceil_div(inner, 512);
    return ranges(outer * strips, n * std::min<i64>(inner, 512), [&](i64 task, i64 count) {
        for (; count > 0; ++task, --count) {
            const i64 o = task / strips * n * inner, first = task % strips * 512;
            scan_columns<T, PRODUCT>(x + o, y + o, n, inner, first, std::min<i64>(512, inner - first));
        }
    });
}

}  // namespace

Status run_scan(int dtype, const void* x, void* y, i64 outer, i64 n, i64 inner, bool product) {
    return of_dtype(dtype, [&](auto type) {
        using T = decltype(type);
        return product ? scan<T, true>(in<T>(x), out<T>(y), outer, n, inner) : scan<T, false>(in<T>(x), out<T>(y), outer, n, inner);
    });
}

}  // namespace mlcore_cpu
