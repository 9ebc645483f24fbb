// Reductions over contiguous memory. Lanes and block sizes are constants, so results do not depend on threads.
#include <limits>

#include "isa_tables.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

// The start values that declarations name.
template <class T> INL T least() { return std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest(); }
template <class T> INL T greatest() { return std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max(); }

// lane[0] = all of N lanes; every step is a loop of constant length, so that the lanes stay in registers.
template <int N, class R, class F> INL void fold(R* lane, F f) {
    constexpr int HALF = N / 2;
    for (int j = 0; j < HALF; ++j) lane[j] = f(lane[j], lane[j + HALF]);
    if constexpr (HALF > 1) fold<HALF>(lane, f);
}

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
        R& acc = *static_cast<R*>(accv);
        R lane[L];
        for (int j = 0; j < L; ++j) lane[j] = Op::template start<R>();
        i64 i = 0;
        if constexpr (EXTREMUM<Op> != 0) {  // a nan is looked for apart: the comparison drops it, one test is for two elements
            const auto better = [](T a, T b) { return (EXTREMUM<Op> > 0 ? a > b : a < b) ? a : b; };
            T odd[L];
            for (int j = 0; j < L; ++j) odd[j] = T(0);
            for (; i + 2 * L <= n; i += 2 * L) {
                ahead<2 * L>(x + i);
                for (int j = 0; j < L; ++j) {
                    const T a = x[i + j], b = x[i + L + j];
                    odd[j] = __builtin_isunordered(a, b) ? T(1) : odd[j];
                    lane[j] = better(better(a, b), lane[j]);
                }
            }
            for (int j = 0; i < n; ++i, j = (j + 1) % L) {
                odd[j] = x[i] != x[i] ? T(1) : odd[j];
                lane[j] = better(x[i], lane[j]);
            }
            fold<L>(odd, [](T a, T b) { return a + b; });
            fold<L>(lane, better);
            acc = Op::template f<R, R>(acc, odd[0] != T(0) ? std::numeric_limits<T>::quiet_NaN() : lane[0]);
        } else {
            for (; i + L <= n; i += L) {
                ahead<L>(x + i);
                for (int j = 0; j < L; ++j) lane[j] = Op::template f<R, T>(lane[j], x[i + j]);
            }
            for (int j = 0; i < n; ++i, ++j) lane[j] = Op::template f<R, T>(lane[j], x[i]);
            fold<L>(lane, [](R a, R b) { return Op::template f<R, R>(a, b); });
            acc = Op::template f<R, R>(acc, lane[0]);
        }
    }
    // Four rows at a time: an accumulator in L1 is read and written once for four elements, and memory is read along rows.
    static void column(const void* xv, i64 rows, i64 row_stride, i64 width, void* accv) {
        R* __restrict acc = static_cast<R*>(accv);
        const char* base = static_cast<const char*>(xv);
        const auto row_at = [&](i64 r) { return reinterpret_cast<const T*>(base + r * row_stride); };
        i64 r = 0;
        for (; r + 4 <= rows; r += 4) {
            const T *__restrict a = row_at(r), *__restrict b = row_at(r + 1), *__restrict c = row_at(r + 2), *__restrict d = row_at(r + 3);
            if constexpr (EXTREMUM<Op> != 0) {
                const auto better = [](T u, T v) { return (EXTREMUM<Op> > 0 ? u > v : u < v) ? u : v; };
                for (i64 j = 0; j < width; ++j) {
                    const bool odd = __builtin_isunordered(a[j], b[j]) | __builtin_isunordered(c[j], d[j]);
                    const R best = Op::template f<R, T>(acc[j], better(better(a[j], b[j]), better(c[j], d[j])));
                    acc[j] = odd ? std::numeric_limits<T>::quiet_NaN() : best;
                }
            } else {
                for (i64 j = 0; j < width; ++j) {
                    const R two = Op::template f<R, T>(Op::template f<R, T>(acc[j], a[j]), b[j]);
                    acc[j] = Op::template f<R, T>(Op::template f<R, T>(two, c[j]), d[j]);
                }
            }
        }
        for (; r < rows; ++r) {
            const T* __restrict a = row_at(r);
            for (i64 j = 0; j < width; ++j) acc[j] = Op::template f<R, T>(acc[j], a[j]);
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

#ifdef MLCORE_WIDE
// A sum in double. gcc loads 16 floats at once and takes them apart, which costs as much as
// converting them; a conversion can read its eight from memory. Conversions and additions share two of the processor's
// units, multiplications have others: a fused product with one adds there, and gives the same.
INL double wide_total(const float* x, i64 n) {
    __m512d lane[8];
    for (__m512d& value : lane) value = _mm512_setzero_pd();
    __m512d one = _mm512_set1_pd(1.0);
    asm("" : "+v"(one));  // a product with what the compiler does not know: x * 1 + lane is not made an addition
    const auto add = [&](int k, __m256 x8) { lane[k] = _mm512_fmadd_pd(_mm512_cvtps_pd(x8), one, lane[k]); };
    i64 i = 0;
    for (; i + 64 <= n; i += 64) {
        ahead<64>(x + i);
        for (int k = 0; k < 8; ++k) add(k, _mm256_loadu_ps(x + i + 8 * k));
    }
    if (i < n) {
        for (int k = 0; k < 8; ++k, i += 8) {
            const __mmask8 some = n - i >= 8 ? __mmask8(0xff) : (n > i ? __mmask8((1u << (n - i)) - 1u) : __mmask8(0));
            add(k, _mm256_maskz_loadu_ps(some, x + i));
        }
    }
    fold<8>(lane, [](__m512d a, __m512d b) { return _mm512_add_pd(a, b); });
    return _mm512_reduce_add_pd(lane[0]);
}
#endif

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
            acc.add(total(x + start, stop - start));
        }
    }
    static INL double total(const T* __restrict x, i64 n) {
#ifdef MLCORE_WIDE
        if constexpr (sizeof(T) == 4) return wide_total(x, n);
#endif
        double lane[L];
        for (int j = 0; j < L; ++j) lane[j] = 0;
        i64 i = 0;
        for (; i + L <= n; i += L) {
            ahead<L>(x + i);
            for (int j = 0; j < L; ++j) lane[j] += static_cast<double>(x[i + j]);
        }
        for (int j = 0; i < n; ++i, ++j) lane[j] += static_cast<double>(x[i]);
        fold<L>(lane, [](double a, double b) { return a + b; });
        return lane[0];
    }
    static void column(const void* xv, i64 rows, i64 row_stride, i64 width, void* accv) {
        Acc* __restrict acc = static_cast<Acc*>(accv);
        const char* base = static_cast<const char*>(xv);
        if constexpr (sizeof(T) == 4) {  // along rows, four at a time, as Generic does
            const auto row_at = [&](i64 r) { return reinterpret_cast<const T*>(base + r * row_stride); };
            i64 r = 0;
            for (; r + 4 <= rows; r += 4) {
                const T *__restrict a = row_at(r), *__restrict b = row_at(r + 1), *__restrict c = row_at(r + 2), *__restrict d = row_at(r + 3);
                for (i64 j = 0; j < width; ++j)
                    acc[j].add((static_cast<double>(a[j]) + static_cast<double>(b[j])) + (static_cast<double>(c[j]) + static_cast<double>(d[j])));
            }
            for (; r < rows; ++r) {
                const T* __restrict a = row_at(r);
                for (i64 j = 0; j < width; ++j) acc[j].add(static_cast<double>(a[j]));
            }
            return;
        }
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
