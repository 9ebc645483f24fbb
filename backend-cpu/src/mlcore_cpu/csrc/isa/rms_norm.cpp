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
        const double mean = total_of<T>(n, [&](auto at) { return at(a) * at(a); }) / static_cast<double>(n);
        const T scale = static_cast<T>(1.0 / __builtin_sqrt(mean + eps));
        rstd[r] = scale;
        each_of<T>(n, [&](auto at) {
            using V = typename decltype(at)::V;
            at.put(c, w ? at(a) * V(scale) * at(w) : at(a) * V(scale));
        });
    }
}

// One row: gx, and its share of the weight's gradient.
template <bool Weighted, class T>
INL void backward_row(const T* __restrict d, const T* __restrict a, const T* __restrict w, T s, T* __restrict c, T* __restrict gw, i64 n) {
    const auto inner = [&](auto at) {
        if constexpr (Weighted) return at(d) * at(w);
        else return at(d);
    };
    const T dot = static_cast<T>(total_of<T>(n, [&](auto at) { using V = typename decltype(at)::V; return inner(at) * (at(a) * V(s)); }) / static_cast<double>(n));
    each_of<T>(n, [&](auto at) {
        using V = typename decltype(at)::V;
        const V z = at(a) * V(s);
        at.put(c, V(s) * (inner(at) - z * V(dot)));
        at.put(gw, at(gw) + at(d) * z);
    });
}
template <class T>
void backward(const T* g, const T* x, const T* w, const T* rstd, T* gx, T* gw, i64 rows, i64 n) {
    for (i64 r = 0; r < rows; ++r, g += n, x += n, gx += n) {
        if (w) backward_row<true>(g, x, w, rstd[r], gx, gw, n);
        else backward_row<false>(g, x, w, rstd[r], gx, gw, n);
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
