// Loops of root-mean-square normalisation over rows.
#include "../rms_norm.hpp"
#include "isa_tables.hpp"
#include "rows.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

template <class T>
void forward(const T* x, const T* w_, T* y, T* rstd, i64 rows, i64 n, double eps) {
    const T* __restrict w = w_;
    for (i64 r = 0; r < rows; ++r, x += n, y += n) {
        const T* __restrict a = x;
        T* __restrict c = y;
        const double mean = sum_of<T>(n, [&](i64 i) { return a[i] * a[i]; }) / static_cast<double>(n);
        const T scale = static_cast<T>(1.0 / __builtin_sqrt(mean + eps));
        rstd[r] = scale;
        if (w) for (i64 i = 0; i < n; ++i) c[i] = a[i] * scale * w[i];
        else for (i64 i = 0; i < n; ++i) c[i] = a[i] * scale;
    }
}

template <class T>
void backward(const T* g, const T* x, const T* w_, const T* rstd, T* gx, T* gw_, i64 rows, i64 n) {
    const T* __restrict w = w_;
    T* __restrict gw = gw_;
    for (i64 r = 0; r < rows; ++r, g += n, x += n, gx += n) {
        const T *__restrict d = g, *__restrict a = x;
        T* __restrict c = gx;
        const T s = rstd[r];
        if (w) {
            const T dot = static_cast<T>(sum_of<T>(n, [&](i64 i) { return d[i] * w[i] * (a[i] * s); }) / static_cast<double>(n));
            for (i64 i = 0; i < n; ++i) c[i] = s * (d[i] * w[i] - a[i] * s * dot);
        } else {
            const T dot = static_cast<T>(sum_of<T>(n, [&](i64 i) { return d[i] * (a[i] * s); }) / static_cast<double>(n));
            for (i64 i = 0; i < n; ++i) c[i] = s * (d[i] - a[i] * s * dot);
        }
        for (i64 i = 0; i < n; ++i) gw[i] += d[i] * (a[i] * s);
    }
}

template <class T> RmsLoops<T> loops() { return {&forward<T>, &backward<T>}; }

}  // namespace

const RmsTable* rms_table() {
    static const RmsTable rms{loops<float>(), loops<double>()};
    return &rms;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
