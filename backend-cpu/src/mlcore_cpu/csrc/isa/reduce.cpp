// Reductions over contiguous memory. Lanes and block sizes are constants, so results do not depend on threads.
#include <limits>

#include "isa_tables.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

// The start values that declarations name.
template <class T> INL T least() { return std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest(); }
template <class T> INL T greatest() { return std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max(); }

// ---- generated reductions: the accumulator has the element's type -------------------------------------------

// 1 and -1 for the float maximum and minimum: their rows look for nan apart from the comparison.
template <class Op> constexpr int EXTREMUM = 0;

template <class Op, class T, class R>
struct Generic {
    static constexpr int L = 256 / sizeof(T);  // lanes of the row loop

    static void init(void* accv, i64 n) {
        R* acc = static_cast<R*>(accv);
        for (i64 i = 0; i < n; ++i) acc[i] = Op::template start<R>();
    }
    static void row(const void* xv, i64 n, void* accv) {
        const T* __restrict x = static_cast<const T*>(xv);
        R lane[L];
        for (int j = 0; j < L; ++j) lane[j] = Op::template start<R>();
        i64 i = 0;
        if constexpr (EXTREMUM<Op> != 0) {  // one test of two elements for nan, instead of one in each comparison
            T odd[L];
            for (int j = 0; j < L; ++j) odd[j] = T(0);
            for (; i + 2 * L <= n; i += 2 * L)
                for (int j = 0; j < L; ++j) {
                    const T a = x[i + j], b = x[i + L + j];
                    odd[j] = __builtin_isunordered(a, b) ? T(1) : odd[j];
                    const T c = (EXTREMUM<Op> > 0 ? a > b : a < b) ? a : b;
                    lane[j] = (EXTREMUM<Op> > 0 ? c > lane[j] : c < lane[j]) ? c : lane[j];
                }
            for (int j = 0; j < L; ++j) lane[j] = odd[j] != T(0) ? std::numeric_limits<T>::quiet_NaN() : lane[j];
        }
        for (; i + L <= n; i += L)
            for (int j = 0; j < L; ++j) lane[j] = Op::template f<R, T>(lane[j], x[i + j]);
        for (int j = 0; i < n; ++i, ++j) lane[j] = Op::template f<R, T>(lane[j], x[i]);
        for (int half = L / 2; half > 0; half /= 2)
            for (int j = 0; j < half; ++j) lane[j] = Op::template f<R, R>(lane[j], lane[j + half]);
        R* acc = static_cast<R*>(accv);
        *acc = Op::template f<R, R>(*acc, lane[0]);
    }
    static void column(const void* xv, i64 rows, i64 row_stride, i64 width, void* accv) {
        R* acc = static_cast<R*>(accv);
        const char* base = static_cast<const char*>(xv);
        constexpr int TILE = L;  // columns held in registers
        for (i64 j0 = 0; j0 < width; j0 += TILE) {
            const i64 w = width - j0 < TILE ? width - j0 : TILE;
            R lane[TILE];
            for (i64 j = 0; j < w; ++j) lane[j] = acc[j0 + j];
            for (i64 r = 0; r < rows; ++r) {
                const T* __restrict x = reinterpret_cast<const T*>(base + r * row_stride) + j0;
                if (w == TILE) {
                    for (int j = 0; j < TILE; ++j) lane[j] = Op::template f<R, T>(lane[j], x[j]);
                } else {
                    for (i64 j = 0; j < w; ++j) lane[j] = Op::template f<R, T>(lane[j], x[j]);
                }
            }
            for (i64 j = 0; j < w; ++j) acc[j0 + j] = lane[j];
        }
    }
    static void combine(void* accv, const void* otherv, i64 n) {
        R* __restrict acc = static_cast<R*>(accv);
        const R* __restrict other = static_cast<const R*>(otherv);
        for (i64 i = 0; i < n; ++i) acc[i] = Op::template f<R, R>(acc[i], other[i]);
    }
    static void finish(const void* accv, void* yv, i64 n, double) {
        const R* __restrict acc = static_cast<const R*>(accv);
        R* __restrict y = static_cast<R*>(yv);
        for (i64 i = 0; i < n; ++i) y[i] = acc[i];
    }
};

// ---- float sums: lanes in double; float64 keeps the rounding errors between blocks ----------------------------

struct Plain {
    double s;
    INL void add(double x) { s += x; }
    INL void add(const Plain& o) { s += o.s; }
    INL double value() const { return s; }
};
struct Compensated {  // Knuth's TwoSum
    double s, c;
    INL void add(double x) {
        const double t = s + x, z = t - s;
        const double e = (s - (t - z)) + (x - z);
        s = t;
        c += e - e == 0.0 ? e : 0.0;  // inf - inf in the correction must not spoil an infinite sum
    }
    INL void add(const Compensated& o) {
        add(o.s);
        c += o.c;
    }
    INL double value() const { return s + c; }
};

template <class T, class Acc>
struct Sum {
    static constexpr int L = 32;     // lanes of a row: four 512-bit registers
    static constexpr int RUN = sizeof(T) == 4 ? 1 << 20 : 16;  // additions per lane before the accumulator takes over

    static void init(void* accv, i64 n) {
        Acc* acc = static_cast<Acc*>(accv);
        for (i64 i = 0; i < n; ++i) acc[i] = Acc{};
    }
    static void row(const void* xv, i64 n, void* accv) {
        const T* __restrict x = static_cast<const T*>(xv);
        Acc& acc = *static_cast<Acc*>(accv);
        for (i64 start = 0; start < n; start += RUN * L) {
            const i64 stop = start + RUN * L < n ? start + RUN * L : n;
            double lane[L];
            for (int j = 0; j < L; ++j) lane[j] = 0;
            i64 i = start;
            for (; i + L <= stop; i += L)
                for (int j = 0; j < L; ++j) lane[j] += static_cast<double>(x[i + j]);
            for (int j = 0; i < stop; ++i, ++j) lane[j] += static_cast<double>(x[i]);
            for (int half = L / 2; half > 0; half /= 2)
                for (int j = 0; j < half; ++j) lane[j] += lane[j + half];
            acc.add(lane[0]);
        }
    }
    static void column(const void* xv, i64 rows, i64 row_stride, i64 width, void* accv) {
        Acc* __restrict acc = static_cast<Acc*>(accv);
        const char* base = static_cast<const char*>(xv);
        constexpr int TILE = 64;
        for (i64 j0 = 0; j0 < width; j0 += TILE) {
            const i64 w = width - j0 < TILE ? width - j0 : TILE;
            for (i64 r0 = 0; r0 < rows; r0 += RUN) {
                const i64 r1 = r0 + RUN < rows ? r0 + RUN : rows;
                double run[TILE];
                for (int j = 0; j < TILE; ++j) run[j] = 0;
                for (i64 r = r0; r < r1; ++r) {
                    const T* __restrict x = reinterpret_cast<const T*>(base + r * row_stride) + j0;
                    if (w == TILE) {
                        for (int j = 0; j < TILE; ++j) run[j] += static_cast<double>(x[j]);
                    } else {
                        for (i64 j = 0; j < w; ++j) run[j] += static_cast<double>(x[j]);
                    }
                }
                for (i64 j = 0; j < w; ++j) acc[j0 + j].add(run[j]);
            }
        }
    }
    static void combine(void* accv, const void* otherv, i64 n) {
        Acc* acc = static_cast<Acc*>(accv);
        const Acc* other = static_cast<const Acc*>(otherv);
        for (i64 i = 0; i < n; ++i) acc[i].add(other[i]);
    }
    static void finish(const void* accv, void* yv, i64 n, double divisor) {
        const Acc* acc = static_cast<const Acc*>(accv);
        T* y = static_cast<T*>(yv);
        for (i64 i = 0; i < n; ++i) y[i] = static_cast<T>(acc[i].value() / divisor);
    }
};

// ---- variance: mean and squared distances of a block in L1, blocks joined by Chan's formula -------------------

struct Moments {
    double count, mean, m2;
    INL void add(double n, double m, double s) {
        if (n == 0) return;
        const double total = count + n, d = m - mean;
        mean += d * (n / total);
        m2 += s + d * d * (count * n / total);
        count = total;
    }
};

template <class T>
struct Variance {
    static constexpr int L = 32, BLOCK = 1024, ROWS = 32, TILE = 64;

    static void init(void* accv, i64 n) {
        Moments* acc = static_cast<Moments*>(accv);
        for (i64 i = 0; i < n; ++i) acc[i] = Moments{};
    }
    template <class F>
    static INL double total(i64 n, F f) {
        double lane[L];
        for (int j = 0; j < L; ++j) lane[j] = 0;
        i64 i = 0;
        for (; i + L <= n; i += L)
            for (int j = 0; j < L; ++j) lane[j] += f(i + j);
        for (int j = 0; i < n; ++i, ++j) lane[j] += f(i);
        for (int half = L / 2; half > 0; half /= 2)
            for (int j = 0; j < half; ++j) lane[j] += lane[j + half];
        return lane[0];
    }
    static void row(const void* xv, i64 n, void* accv) {
        for (i64 start = 0; start < n; start += BLOCK) {
            const i64 m = n - start < BLOCK ? n - start : BLOCK;
            const T* __restrict x = static_cast<const T*>(xv) + start;
            const double mean = total(m, [&](i64 i) { return static_cast<double>(x[i]); }) / static_cast<double>(m);
            const double m2 = total(m, [&](i64 i) { const double d = static_cast<double>(x[i]) - mean; return d * d; });
            static_cast<Moments*>(accv)->add(static_cast<double>(m), mean, m2);
        }
    }
    static void column(const void* xv, i64 rows, i64 row_stride, i64 width, void* accv) {
        Moments* acc = static_cast<Moments*>(accv);
        const char* base = static_cast<const char*>(xv);
        for (i64 r0 = 0; r0 < rows; r0 += ROWS) {
            const i64 m = rows - r0 < ROWS ? rows - r0 : ROWS;
            for (i64 j0 = 0; j0 < width; j0 += TILE) {
                const i64 w = width - j0 < TILE ? width - j0 : TILE;
                double mean[TILE], m2[TILE];
                for (int j = 0; j < TILE; ++j) mean[j] = m2[j] = 0;
                for (i64 r = 0; r < m; ++r) {
                    const T* __restrict x = reinterpret_cast<const T*>(base + (r0 + r) * row_stride) + j0;
                    if (w == TILE) {
                        for (int j = 0; j < TILE; ++j) mean[j] += static_cast<double>(x[j]);
                    } else {
                        for (i64 j = 0; j < w; ++j) mean[j] += static_cast<double>(x[j]);
                    }
                }
                for (int j = 0; j < TILE; ++j) mean[j] /= static_cast<double>(m);
                for (i64 r = 0; r < m; ++r) {
                    const T* __restrict x = reinterpret_cast<const T*>(base + (r0 + r) * row_stride) + j0;
                    const auto square = [&](i64 j) { const double d = static_cast<double>(x[j]) - mean[j]; return d * d; };
                    if (w == TILE) {
                        for (int j = 0; j < TILE; ++j) m2[j] += square(j);
                    } else {
                        for (i64 j = 0; j < w; ++j) m2[j] += square(j);
                    }
                }
                for (i64 j = 0; j < w; ++j) acc[j0 + j].add(static_cast<double>(m), mean[j], m2[j]);
            }
        }
    }
    static void combine(void* accv, const void* otherv, i64 n) {
        Moments* acc = static_cast<Moments*>(accv);
        const Moments* other = static_cast<const Moments*>(otherv);
        for (i64 i = 0; i < n; ++i) acc[i].add(other[i].count, other[i].mean, other[i].m2);
    }
    static void finish(const void* accv, void* yv, i64 n, double freedom) {
        const Moments* acc = static_cast<const Moments*>(accv);
        T* y = static_cast<T*>(yv);
        for (i64 i = 0; i < n; ++i) y[i] = static_cast<T>(acc[i].m2 / freedom);
    }
};

#define MLCORE_UNARY(...)
#define MLCORE_BINARY(...)
#define MLCORE_REDUCE(name, kind, out, start_, ...)                                       \
    struct name##_##kind {                                                                \
        template <class T> static INL T start() {                                         \
            [[maybe_unused]] const T lowest = least<T>(), highest = greatest<T>();        \
            return static_cast<T>(start_);                                                \
        }                                                                                 \
        template <class R, class T> static INL R f(R a, T x) { return static_cast<R>(__VA_ARGS__); } \
    };
#include "../generated_ops.inc"
#undef MLCORE_REDUCE
template <> constexpr int EXTREMUM<max_FLOAT> = 1;
template <> constexpr int EXTREMUM<min_FLOAT> = -1;

template <class K, class Acc>
constexpr ReduceEntry entry(const char* name, int in, int out) {
    return {name, in, out, sizeof(Acc), &K::init, &K::row, &K::column, &K::combine, &K::finish};
}
#define ROW(D, name, kind, out) entry<Generic<name##_##kind, ctype<D>, STORE_##out(D)>, STORE_##out(D)>(#name, D, OUTCODE_##out(D)),
#define MLCORE_REDUCE(name, kind, out, start_, ...) FOR_##kind(ROW, name, kind, out)
const ReduceEntry entries[] = {
#include "../generated_ops.inc"
    entry<Sum<float, Plain>, Plain>("reduce_sum", F32, F32),
    entry<Sum<double, Compensated>, Compensated>("reduce_sum", F64, F64),
    entry<Variance<float>, Moments>("var", F32, F32),
    entry<Variance<double>, Moments>("var", F64, F64),
};

// ---- argmax and argmin ---------------------------------------------------------------------------------------

template <class T, bool Max>
struct Arg {
    static INL bool better(T v, T best) {
        return (Max ? v > best : v < best) | ((v != v) & (best == best));
    }
    static INL T pick(T a, T b) { return Max ? max(a, b) : min(a, b); }

    static i64 row(const void* xv, i64 n) {
        const T* __restrict x = static_cast<const T*>(xv);
        constexpr int L = 256 / sizeof(T);
        T lane[L];
        for (int j = 0; j < L; ++j) lane[j] = x[0];
        i64 i = 0;
        for (; i + L <= n; i += L)
            for (int j = 0; j < L; ++j) lane[j] = pick(lane[j], x[i + j]);
        for (int j = 0; i < n; ++i, ++j) lane[j] = pick(lane[j], x[i]);
        T best = lane[0];
        for (int j = 1; j < L; ++j) best = pick(best, lane[j]);
        const bool nan = best != best;
        for (i64 start = 0; start < n; start += 256) {
            const i64 stop = start + 256 < n ? start + 256 : n;
            int found = 0;
            for (i64 k = start; k < stop; ++k) found |= nan ? x[k] != x[k] : x[k] == best;
            if (found)
                for (i64 k = start; k < stop; ++k)
                    if (nan ? x[k] != x[k] : x[k] == best) return k;
        }
        return 0;
    }
    static void column(const void* xv, i64 r0, i64 rows, i64 row_stride, i64 width, void* bestv, i64* index) {
        T* best = static_cast<T*>(bestv);
        const char* base = static_cast<const char*>(xv);
        for (i64 r = 0; r < rows; ++r) {
            const T* __restrict x = reinterpret_cast<const T*>(base + r * row_stride);
            const bool first = r0 + r == 0;
            for (i64 j = 0; j < width; ++j) {
                const bool take = first | better(x[j], best[j]);
                best[j] = take ? x[j] : best[j];
                index[j] = take ? r0 + r : index[j];
            }
        }
    }
};

#define ARG(D) {"reduce_argmax", D, &Arg<ctype<D>, true>::row, &Arg<ctype<D>, true>::column}, \
               {"reduce_argmin", D, &Arg<ctype<D>, false>::row, &Arg<ctype<D>, false>::column},
const ArgEntry args[] = {ARG(BOOL) ARG(I8) ARG(I16) ARG(I32) ARG(I64) ARG(U8) ARG(U16) ARG(U32) ARG(U64) ARG(F32) ARG(F64)};

}  // namespace

const ReduceEntry* reduce_entries(int* count) {
    *count = sizeof(entries) / sizeof(entries[0]);
    return entries;
}
const ArgEntry* arg_entries(int* count) {
    *count = sizeof(args) / sizeof(args[0]);
    return args;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
