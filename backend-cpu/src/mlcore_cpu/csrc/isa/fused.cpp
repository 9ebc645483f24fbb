// Fused loops: softmax and its kin, normalisation, optimizer steps, random bits.
#include <limits>

#include "../fused.hpp"
#include "isa_tables.hpp"
#include "rows.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

// ---- softmax --------------------------------------------------------------------------------------------------

#define V_OF(at) using V = typename decltype(at)::V  // an element, or a register of them

template <class T>
void softmax(const T* x, T* y, i64 rows, i64 n) {
    for (i64 r = 0; r < rows; ++r, x += n, y += n) {
        const T* __restrict a = x;
        T* __restrict b = y;
        const T top = finite_or_zero(top_of(a, n));
        const double total = total_of<T>(n, [&](auto at) {
            V_OF(at);
            const V e = exp(at(a) - V(top));
            at.put(b, e);
            return e;
        });
        const T scale = static_cast<T>(total == 0 ? 1.0 : 1.0 / total);  // a row of -inf gives zeros
        each_of<T>(n, [&](auto at) { V_OF(at); at.put(b, at(b) * V(scale)); });
    }
}
template <class T>
INL double log_total(const T* __restrict a, i64 n, T top) {
    return ::log(total_of<T>(n, [&](auto at) { V_OF(at); return exp(at(a) - V(top)); }));
}
template <class T>
void log_softmax(const T* x, T* y, i64 rows, i64 n) {
    for (i64 r = 0; r < rows; ++r, x += n, y += n) {
        const T* __restrict a = x;
        T* __restrict b = y;
        const T top = finite_or_zero(top_of(a, n));
        const T rest = static_cast<T>(log_total(a, n, top));
        each_of<T>(n, [&](auto at) { V_OF(at); at.put(b, (at(a) - V(top)) - V(rest)); });
    }
}
template <class T>
void logsumexp(const T* x, T* y, i64 rows, i64 n) {
    for (i64 r = 0; r < rows; ++r, x += n) {
        const T top = finite_or_zero(top_of(x, n));
        y[r] = static_cast<T>(log_total(x, n, top) + static_cast<double>(top));
    }
}
template <class T>
void softmax_grad(const T* g, const T* y, T* gx, i64 rows, i64 n) {
    for (i64 r = 0; r < rows; ++r, g += n, y += n, gx += n) {
        const T *__restrict a = g, *__restrict b = y;
        T* __restrict c = gx;
        const T dot = static_cast<T>(total_of<T>(n, [&](auto at) { return at(a) * at(b); }));
        each_of<T>(n, [&](auto at) { V_OF(at); at.put(c, at(b) * (at(a) - V(dot))); });
    }
}
template <class T>
void log_softmax_grad(const T* g, const T* y, T* gx, i64 rows, i64 n) {
    for (i64 r = 0; r < rows; ++r, g += n, y += n, gx += n) {
        const T *__restrict a = g, *__restrict b = y;
        T* __restrict c = gx;
        const T total = static_cast<T>(total_of<T>(n, [&](auto at) { return at(a); }));
        each_of<T>(n, [&](auto at) { V_OF(at); at.put(c, at(a) - exp(at(b)) * V(total)); });
    }
}
template <class T>
void cross_entropy(const T* x, const i64* target, T* loss, T* lse, i64 rows, i64 n) {
    for (i64 r = 0; r < rows; ++r, x += n) {
        logsumexp(x, lse + r, 1, n);
        loss[r] = lse[r] - x[target[r]];
    }
}
template <class T>
void cross_entropy_grad(const T* g, const T* x, const i64* target, const T* lse, T* gx, i64 rows, i64 n) {
    for (i64 r = 0; r < rows; ++r, x += n, gx += n) {
        const T* __restrict a = x;
        T* __restrict c = gx;
        const T weight = g[r], shift = lse[r];
        each_of<T>(n, [&](auto at) { V_OF(at); at.put(c, V(weight) * exp(at(a) - V(shift))); });
        c[target[r]] = weight * (exp(a[target[r]] - shift) - T(1));
    }
}

// ---- normalisation --------------------------------------------------------------------------------------------

template <class T>
void layer_norm(const T* x, const T* w, const T* b, T* y, T* mean, T* rstd, i64 rows, i64 n, double eps) {
    for (i64 r = 0; r < rows; ++r, x += n, y += n) {
        const T* __restrict a = x;
        T* __restrict c = y;
        const T centre = static_cast<T>(total_of<T>(n, [&](auto at) { return at(a); }) / static_cast<double>(n));
        const double var = total_of<T>(n, [&](auto at) { V_OF(at); const V d = at(a) - V(centre); return d * d; }) / static_cast<double>(n);
        const T scale = static_cast<T>(1.0 / __builtin_sqrt(var + eps));
        mean[r] = centre;
        rstd[r] = scale;
        if (w && b) {
            each_of<T>(n, [&](auto at) { V_OF(at); at.put(c, (at(a) - V(centre)) * V(scale) * at(w) + at(b)); });
        } else {
            each_of<T>(n, [&](auto at) { V_OF(at); at.put(c, (at(a) - V(centre)) * V(scale)); });
            if (w) each_of<T>(n, [&](auto at) { at.put(c, at(c) * at(w)); });
            if (b) each_of<T>(n, [&](auto at) { at.put(c, at(c) + at(b)); });
        }
    }
}
// One row: gx, and its share of the gradients of weight and bias. k is the weight, or null.
template <bool Weighted, class T>
INL void layer_norm_grad_row(const T* __restrict d, const T* __restrict a, const T* __restrict k, T m, T s, T* __restrict c, T* __restrict sw, T* __restrict sb, i64 n) {
    const auto inner = [&](auto at) {
        if constexpr (Weighted) return at(d) * at(k);
        else return at(d);
    };
    const auto sums = totals_of<2, T>(n, [&](auto at) {
        V_OF(at);
        const V v = inner(at);
        return Several<V, 2>{{v, v * ((at(a) - V(m)) * V(s))}};
    });
    const T first = static_cast<T>(sums.of[0] / static_cast<double>(n)), second = static_cast<T>(sums.of[1] / static_cast<double>(n));
    each_of<T>(n, [&](auto at) {
        V_OF(at);
        const V z = (at(a) - V(m)) * V(s);
        at.put(c, V(s) * (inner(at) - V(first) - z * V(second)));
        at.put(sw, at(sw) + at(d) * z);
        at.put(sb, at(sb) + at(d));
    });
}
template <class T>
void layer_norm_grad(const T* g, const T* x, const T* w, const T* mean, const T* rstd, T* gx, T* gw, T* gb, i64 rows, i64 n) {
    for (i64 r = 0; r < rows; ++r, g += n, x += n, gx += n) {
        if (w) layer_norm_grad_row<true>(g, x, w, mean[r], rstd[r], gx, gw, gb, n);
        else layer_norm_grad_row<false>(g, x, w, mean[r], rstd[r], gx, gw, gb, n);
    }
}

// ---- optimizer steps, in the order of operations of mlcore.ops.update ------------------------------------------

template <class T>
void adam(const T* p, const T* g, const T* m, const T* v, T* p2, T* m2, T* v2, i64 n, const AdamParams& a) {
    const T keep = a.decoupled ? T(1 - a.lr * a.weight_decay) : T(1), decay = a.decoupled ? T(0) : T(a.weight_decay);
    const T b1 = T(a.beta1), c1 = T(1 - a.beta1), b2 = T(a.beta2), c2 = T(1 - a.beta2), eps = T(a.eps);
    const bool decays = decay != T(0);
    const T rate = T(a.rate), root = T(a.root);
#pragma GCC ivdep
    for (i64 i = 0; i < n; ++i) {
        const T d = g[i] + (decays ? p[i] * decay : T(0));  // an infinite parameter stays out of the moments
        const T first = m[i] * b1 + d * c1;
        const T second = v[i] * b2 + d * d * c2;
        m2[i] = first;
        v2[i] = second;
        p2[i] = p[i] * keep - first * rate / (sqrt(second) * root + eps);
    }
}
template <class T>
void sgd(const T* p, const T* g, const T* b, T* p2, T* b2, i64 n, const SgdParams& a) {
    const T lr = T(a.lr), decay = T(a.weight_decay), keep = T(a.momentum), take = T(1 - a.dampening);
    const bool decays = decay != T(0), first = a.first, nesterov = a.nesterov;
    if (!b) {
#pragma GCC ivdep
        for (i64 i = 0; i < n; ++i) p2[i] = p[i] - (g[i] + (decays ? p[i] * decay : T(0))) * lr;
        return;
    }
#pragma GCC ivdep
    for (i64 i = 0; i < n; ++i) {
        const T d = g[i] + (decays ? p[i] * decay : T(0));
        const T buffer = first ? d : b[i] * keep + d * take;
        b2[i] = buffer;
        p2[i] = p[i] - (nesterov ? d + buffer * keep : buffer) * lr;
    }
}

// ---- Threefry-2x32, 20 rounds: element i is x0 ^ x1 of the block whose counter is the halves of counter + i ----

INL std::uint32_t rotate(std::uint32_t x, int k) { return (x << k) | (x >> (32 - k)); }
INL std::uint32_t threefry_block(std::uint32_t k0, std::uint32_t k1, std::uint32_t x0, std::uint32_t x1) {
    const std::uint32_t k2 = k0 ^ k1 ^ 0x1BD11BDAu;
#define ROUND(r) x0 += x1; x1 = rotate(x1, r) ^ x0;
#define ROUNDS_A ROUND(13) ROUND(15) ROUND(26) ROUND(6)
#define ROUNDS_B ROUND(17) ROUND(29) ROUND(16) ROUND(24)
    x0 += k0; x1 += k1;
    ROUNDS_A x0 += k1; x1 += k2 + 1u;
    ROUNDS_B x0 += k2; x1 += k0 + 2u;
    ROUNDS_A x0 += k0; x1 += k1 + 3u;
    ROUNDS_B x0 += k1; x1 += k2 + 4u;
    ROUNDS_A x0 += k2; x1 += k0 + 5u;
#undef ROUND
#undef ROUNDS_A
#undef ROUNDS_B
    return x0 ^ x1;
}
void threefry(std::uint32_t k0, std::uint32_t k1, std::uint64_t counter, std::uint32_t* y_, i64 n) {
    std::uint32_t* __restrict y = y_;
    while (n > 0) {  // up to the next carry into the high half
        const std::uint32_t hi = static_cast<std::uint32_t>(counter >> 32), lo = static_cast<std::uint32_t>(counter);
        const std::uint64_t room = 0x100000000ull - lo;
        const i64 m = static_cast<std::uint64_t>(n) < room ? n : static_cast<i64>(room);
        for (i64 i = 0; i < m; ++i) y[i] = threefry_block(k0, k1, hi, lo + static_cast<std::uint32_t>(i));
        y += m;
        n -= m;
        counter += static_cast<std::uint64_t>(m);
    }
}
template <class T>
void dropout(const T* x, T* y, i64 n, std::uint32_t k0, std::uint32_t k1, std::uint64_t counter, std::uint32_t threshold, T scale) {
    std::uint32_t bits[1024];
    for (i64 start = 0; start < n; start += 1024) {
        const i64 m = n - start < 1024 ? n - start : 1024;
        threefry(k0, k1, counter + static_cast<std::uint64_t>(start), bits, m);
        const T* __restrict a = x + start;
        T* __restrict b = y + start;
        for (i64 i = 0; i < m; ++i) b[i] = (bits[i] >> 8) >= threshold ? a[i] * scale : T(0);
    }
}
template <class T>
void accumulate(T* y_, const T* x_, i64 n) {
    T* __restrict y = y_;
    const T* __restrict x = x_;
    for (i64 i = 0; i < n; ++i) y[i] += x[i];
}

template <class T>
double squared_error(const T* x_, const T* y_, i64 n) {
    const T *__restrict x = x_, *__restrict y = y_;
    return sum_of<T>(n, [&](i64 i) { return (x[i] - y[i]) * (x[i] - y[i]); });
}
template <class T>
void squared_error_grad(const T* x_, const T* y_, T* gx_, i64 n, T scale) {
    const T *__restrict x = x_, *__restrict y = y_;
    T* __restrict gx = gx_;
    for (i64 i = 0; i < n; ++i) gx[i] = scale * (x[i] - y[i]);
}

template <class T>
FusedLoops<T> loops() {
    return {&softmax<T>, &log_softmax<T>, &softmax_grad<T>, &log_softmax_grad<T>, &logsumexp<T>, &cross_entropy<T>,
            &cross_entropy_grad<T>, &layer_norm<T>, &layer_norm_grad<T>, &adam<T>, &sgd<T>, &dropout<T>, &accumulate<T>,
            &squared_error<T>, &squared_error_grad<T>};
}

}  // namespace

const FusedTable* fused_table() {
    static const FusedTable fused{loops<float>(), loops<double>(), &threefry};
    return &fused;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
