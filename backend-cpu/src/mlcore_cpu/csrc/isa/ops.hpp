// The functions that `c=` bodies may call, overloaded on type; every body of generated_ops.inc compiles
// against these. float32 has own branch-free versions (vmath_f32.hpp), float64 some (vmath_f64.hpp), else libm.
#pragma once
#include "../normal_tables.hpp"
#include "vmath_f64.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

#define OWN_F32(name)                                             \
    INL float name(float x) { return name##_(x); }                \
    INL double name(double x) { return ::name(x); }
OWN_F32(log1p) OWN_F32(log2) OWN_F32(log10)
OWN_F32(sin) OWN_F32(cos) OWN_F32(tan) OWN_F32(sinh) OWN_F32(cosh)
OWN_F32(asinh) OWN_F32(acosh) OWN_F32(atanh) OWN_F32(asin) OWN_F32(acos) OWN_F32(atan) OWN_F32(erf)
#undef OWN_F32
#define OWN(name)                                                 \
    INL float name(float x) { return name##_(x); }                \
    INL double name(double x) { return name##_(x); }
OWN(exp) OWN(expm1) OWN(log) OWN(tanh) OWN(sigmoid)
#undef OWN

INL float atan2(float y, float x) { return atan2_(y, x); }
INL double atan2(double y, double x) { return ::atan2(y, x); }

#define LIBM2(name)                                                       \
    INL float name(float x, float y) { return ::name##f(x, y); }          \
    INL double name(double x, double y) { return ::name(x, y); }
LIBM2(fmod) LIBM2(nextafter)
#undef LIBM2

#define BUILTIN(name)                                                     \
    INL float name(float x) { return __builtin_##name##f(x); }            \
    INL double name(double x) { return __builtin_##name(x); }
BUILTIN(sqrt) BUILTIN(floor) BUILTIN(ceil) BUILTIN(trunc) BUILTIN(rint) BUILTIN(fabs)
#undef BUILTIN

INL float rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
INL double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
INL float copysign(float x, float s) { return copysign_(x, s); }
INL double copysign(double x, double s) { return __builtin_copysign(x, s); }
INL bool signbit(float x) { return as_u(x) >> 31; }
INL bool signbit(double x) { return as_u(x) >> 63; }

INL float hypot(float x, float y) {  // double holds every square; inf wins over nan
    const double a = x, b = y;
    const float r = static_cast<float>(__builtin_sqrt(a * a + b * b));
    return ((fabs_(x) == F_INF) | (fabs_(y) == F_INF)) ? F_INF : r;
}
INL double hypot(double x, double y) { return ::hypot(x, y); }

INL bool isnan(float x) { return x != x; }
INL bool isnan(double x) { return x != x; }
INL bool isinf(float x) { return (as_u(x) & 0x7fffffffu) == 0x7f800000u; }
INL bool isinf(double x) { return (as_u(x) & 0x7fffffffffffffffull) == 0x7ff0000000000000ull; }
INL bool isfinite(float x) { return (as_u(x) & 0x7f800000u) != 0x7f800000u; }
INL bool isfinite(double x) { return (as_u(x) & 0x7ff0000000000000ull) != 0x7ff0000000000000ull; }

// A NaN in either operand wins; of two zeros the positive one is the greater.
template <class T> INL T max(T a, T b) { return a > b ? a : b; }
template <class T> INL T min(T a, T b) { return a < b ? a : b; }
template <> INL float max(float a, float b) { return (a > b) | (a != a) ? a : b; }
template <> INL float min(float a, float b) { return (a < b) | (a != a) ? a : b; }
template <> INL double max(double a, double b) { return (a > b) | (a != a) ? a : b; }
template <> INL double min(double a, double b) { return (a < b) | (a != a) ? a : b; }

INL float pow(float x, float y) { return pow_(x, y); }
INL double pow(double x, double y) { return ::pow(x, y); }
template <class T> INL T pow(T x, T n) {  // integers wrap; a negative exponent is refused by the core
    T result = 1;
    if constexpr (T(-1) < T(0)) {
        if (n < 0) return x == 1 ? T(1) : (x == T(-1) ? T((n & 1) ? -1 : 1) : T(0));
    }
    for (; n; n = T(n >> 1), x = T(x * x)) if (n & 1) result = T(result * x);
    return result;
}

// Integer division is never undefined: x / 0 gives 0 (the core refuses it beforehand), INT_MIN / -1 wraps.
template <class T> INL T floor_divide(T a, T b) {
    if (b == T(0)) return T(0);
    if constexpr (T(-1) < T(0)) {
        if (b == T(-1)) return T(0 - a);
        const T q = T(a / b);
        return (a % b != 0 && ((a < 0) != (b < 0))) ? T(q - 1) : q;
    }
    return T(a / b);
}
template <class T> INL T remainder(T a, T b) {
    if (b == T(0)) return T(0);
    if constexpr (T(-1) < T(0)) {
        if (b == T(-1)) return T(0);
        const T r = T(a % b);
        return (r != 0 && ((r < 0) != (b < 0))) ? T(r + b) : r;
    }
    return T(a % b);
}
template <class T> INL T float_remainder(T a, T b) {  // the sign of the divisor, as in Python
    const T r = fmod(a, b);
    return r != T(0) ? (((b < 0) != (r < 0)) ? T(r + b) : r) : copysign(T(0), b);
}
template <class T> INL T float_floor_divide(T a, T b) {
    const T r = fmod(a, b);
    if (b == T(0)) return a / b;
    T q = (a - r) / b;
    if (r != T(0) && ((b < 0) != (r < 0))) q -= T(1);
    const T f = floor(q);
    return q != T(0) ? (q - f > T(0.5) ? f + T(1) : f) : copysign(T(0), a / b);
}
template <> INL float floor_divide(float a, float b) { return float_floor_divide(a, b); }
template <> INL double floor_divide(double a, double b) { return float_floor_divide(a, b); }
template <> INL float remainder(float a, float b) { return float_remainder(a, b); }
template <> INL double remainder(double a, double b) { return float_remainder(a, b); }

// A shift by the width or more, or by a negative amount, gives what shifting bit by bit would: 0 or the sign.
template <class T> INL T left_shift(T a, T n) {
    constexpr int bits = sizeof(T) * 8;
    const bool in_range = (n >= T(0)) & (n < T(bits));
    return in_range ? T(static_cast<std::uint64_t>(a) << (in_range ? n : T(0))) : T(0);
}
template <class T> INL T right_shift(T a, T n) {
    constexpr int bits = sizeof(T) * 8;
    const bool in_range = (n >= T(0)) & (n < T(bits));
    return in_range ? T(a >> (in_range ? n : T(0))) : T(a < T(0) ? -1 : 0);
}

#ifdef MLCORE_WIDE
INL Wide exp(Wide x) { return exp_(x); }
INL Wide expm1(Wide x) { return expm1_(x); }
INL Wide log(Wide x) { return log_(x); }
INL Wide tanh(Wide x) { return tanh_(x); }
INL Wide erf(Wide x) { return erf_(x); }
INL Wide sigmoid(Wide x) { return sigmoid_(x); }
#endif

template <class T> INL T silu_grad(T g, T x) {
    const T s = sigmoid(x);
    return g * (s * (T(1) + x * (T(1) - s)));
}
template <class T> INL T gelu_none(T x) { return T(0.5) * x * (T(1) + erf(x * T(0.70710678118654752440))); }
template <class T> INL T gelu_grad_none(T g, T x) {
    const T cdf = T(0.5) * (T(1) + erf(x * T(0.70710678118654752440)));
    const T pdf = T(0.39894228040143267794) * exp(T(-0.5) * x * x);
    return g * (cdf + x * pdf);
}
template <class T> INL T gelu_grad_tanh(T g, T x) {  // by the sigmoid of 2u = 1 + tanh(u), which does not cancel
    const T u = T(1.5957691216057308) * (x + T(0.044715) * x * x * x);
    const T s = select(u < T(-37.5), T(0), sigmoid(u));  // where double's tanh is -1
    const T du = T(1.5957691216057308) * (T(1) + T(0.134145) * x * x);
    return g * (s + x * s * (T(1) - s) * du);
}
#ifdef MLCORE_WIDE
INL Wide half_line(const HalfLine& table, Wide a) {  // a <= 7.75
    const Wide magic(12582912.0f), t = mad(a, Wide(4.0f), magic), r = mad(t - magic, Wide(-0.25f), a);
    Wide p = lookup(table.c[HalfLine::DEGREE], t);
    for (int i = HalfLine::DEGREE - 1; i >= 0; --i) p = mad(p, r, lookup(table.c[i], t));
    return p;
}
INL Wide gelu_none(Wide x) {  // max(x, 0) - |x| Q(|x|): nothing cancels on the left
    const Wide a = at_most(Wide(7.75f), fabs_(x));
    return mad(at_most(-a, x), half_line(normal_tables.tail, a), at_least(Wide(0.0f), x));  // -inf * 0 is nan, as in the body
}
INL Wide gelu_grad_none(Wide g, Wide x) {
    const Wide a = fabs_(x);
    const Wide s = select(a > Wide(14.0f), Wide(0.0f), half_line(normal_tables.slope, at_most(Wide(7.75f), a)));
    return g * mad(x, Wide(0.0f), select(x < Wide(0.0f), s, Wide(1.0f) - s));  // nan of infinities, as in the body
}
#endif

// Truncating conversion without undefined behaviour: saturates, NaN becomes 0.
template <class To, class From> INL To convert(From x) {
    if constexpr ((From(0.5) != From(0)) && (To(0.5) == To(0))) {
        constexpr From lo = static_cast<From>(std::uint64_t{1} << (sizeof(To) * 8 - 1));  // 2^(bits-1), exact
        if constexpr (To(-1) < To(0)) {
            constexpr To least = To(std::uint64_t{1} << (sizeof(To) * 8 - 1)), most = To(~least);
            const bool inside = (x >= -lo) & (x < lo);
            const To y = static_cast<To>(inside ? x : From(0));
            return inside ? y : (x >= lo ? most : (x < -lo ? least : To(0)));
        } else {
            const bool inside = (x > From(-1)) & (x < lo * From(2));
            const To y = static_cast<To>(inside ? x : From(0));
            return inside ? y : (x >= lo * From(2) ? To(~To(0)) : To(0));
        }
    } else {
        return static_cast<To>(x);
    }
}

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
