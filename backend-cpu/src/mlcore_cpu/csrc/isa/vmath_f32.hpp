// float32 functions written so that gcc vectorises a loop over them: no branches, no tables, no libm.
// Errors are in ulp against correctly rounded values and are tested densely (tests/test_vmath.py).
//
// Rules: a condition selects between two computed values; conversions to int use the "magic number" trick,
// so no NaN or huge value is ever converted; where float32 alone is not enough the work is done in double.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#ifndef MLCORE_ISA
#error "compile with -DMLCORE_ISA=<name>"
#endif
#include "wide.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

#ifndef INL
#define INL inline __attribute__((always_inline))
#endif

INL float as_f(std::uint32_t u) { float f; std::memcpy(&f, &u, 4); return f; }
INL std::uint32_t as_u(float f) { std::uint32_t u; std::memcpy(&u, &f, 4); return u; }
INL double as_d(std::uint64_t u) { double f; std::memcpy(&f, &u, 8); return f; }
INL std::uint64_t as_u(double f) { std::uint64_t u; std::memcpy(&u, &f, 8); return u; }

// One rounding where the hardware can; never libm's emulation.
#ifdef __FMA__
INL float mad(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
INL double mad(double a, double b, double c) { return __builtin_fma(a, b, c); }
#else
INL float mad(float a, float b, float c) { return a * b + c; }
INL double mad(double a, double b, double c) { return a * b + c; }
#endif

constexpr float F_INF = __builtin_inff();
constexpr float F_NAN = __builtin_nanf("");

INL float fabs_(float x) { return as_f(as_u(x) & 0x7fffffffu); }
INL float copysign_(float x, float s) { return as_f((as_u(x) & 0x7fffffffu) | (as_u(s) & 0x80000000u)); }
INL double fabs_(double x) { return as_d(as_u(x) & 0x7fffffffffffffffull); }

// The functions below are templates where they also run on registers (wide.hpp); these make a float one lane.
template <class T> INL T select(bool c, T a, T b) { return c ? a : b; }
INL float at_least(float low, float x) { return x < low ? low : x; }  // NaN passes
INL float at_most(float high, float x) { return x > high ? high : x; }

// x = n ln2 + r with |r| <= ln2 / 2; magic_n = n + 1.5 * 2^23 has n in its low bits.
template <class F> struct Split { F r, n, magic_n; };
template <class F> INL Split<F> split_ln2(F x) {
    const F magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    const F t = mad(x, F(1.44269504088896341f), magic);
    const F n = t - magic;
    F r = mad(n, F(-0.693359375f), x);  // 9 bits: the product is exact even without fma
    r = mad(n, F(2.12194440e-4f), r);
    return {r, n, t};
}
INL float pow2(std::int32_t n) { return as_f(static_cast<std::uint32_t>(n + 127) << 23); }

// y * 2^n in two factors, so that subnormals and the largest values come out
INL float scale_by(float y, const Split<float>& s) {
    const std::int32_t n = static_cast<std::int32_t>(as_u(s.magic_n) - 0x4B400000u), half = n >> 1;
    return y * pow2(half) * pow2(n - half);
}
#ifdef MLCORE_WIDE
INL Wide scale_by(Wide y, const Split<Wide>& s) { return scale2(y, s.n); }
#endif

template <class F> INL F exp_poly(F r) {  // exp(r) - 1
    F p = F(1.9875691500e-4f);
    p = mad(p, r, F(1.3981999507e-3f));
    p = mad(p, r, F(8.3334519073e-3f));
    p = mad(p, r, F(4.1665795894e-2f));
    p = mad(p, r, F(1.6666665459e-1f));
    p = mad(p, r, F(5.0000001201e-1f));
    return mad(p, r * r, r);
}
template <class F> INL F exp_(F x) {  // 1.0 ulp
    const Split<F> s = split_ln2(at_most(F(89.0f), at_least(F(-104.0f), x)));
    return scale_by(exp_poly(s.r) + F(1.0f), s);
}
template <class F> INL F exp_down(F x) {  // exp for x <= 0, in which one factor is enough
    return exp_(x);
}
template <> INL float exp_down(float x) {
    const Split<float> s = split_ln2(at_least(-104.0f, x));
    const float scale = as_f((as_u(s.magic_n) + (64 + 127 - 0x4B400000u)) << 23);  // 2^(n + 64)
    return (exp_poly(s.r) + 1.0f) * scale * 5.42101086242752217e-20f;              // 2^-64
}

INL float half_of_2n(const Split<float>& s) {  // 2^(n - 1): n = 128 is reachable
    return as_f((as_u(s.magic_n) + (126 - 0x4B400000u)) << 23);
}
#ifdef MLCORE_WIDE
INL Wide half_of_2n(const Split<Wide>& s) { return scale2(Wide(0.5f), s.n); }
#endif
template <class F> INL F expm1_(F x) {  // 1.5 ulp
    const Split<F> s = split_ln2(at_most(F(89.0f), at_least(F(-18.0f), x)));
    const F e = exp_poly(s.r);
    const F scale = half_of_2n(s);
    const F y = mad(e, scale, scale - F(0.5f)) * F(2.0f);
    return select(x == F(0.0f), x, y);  // keeps -0
}

template <class F> INL F log_of(F f, F k) {  // log(1 + f) + k ln2, f in [sqrt(1/2), sqrt(2)) - 1; musl's logf without its branches
    const F s = f / (F(2.0f) + f);
    const F z = s * s, w = z * z;
    const F t1 = w * mad(w, F(0.24279078841f), F(0.40000972152f));
    const F t2 = z * mad(w, F(0.28498786688f), F(0.66666662693f));
    const F hfsq = F(0.5f) * f * f;
    return s * (hfsq + (t1 + t2)) + k * F(9.0580006145e-06f) - hfsq + f + k * F(6.9313812256e-01f);
}
template <class F> INL F log_or_special(F x, F y) {
    const F special = select(x == F(0.0f), F(-F_INF), select(x < F(0.0f), F(F_NAN), x));  // inf and nan pass
    return select((x > F(0.0f)) & (x < F(F_INF)), y, special);
}
INL float log_(float x) {  // 1 ulp
    const bool tiny = x < 1.17549435e-38f;
    const float scaled = tiny ? x * 8388608.0f : x;
    const std::uint32_t bits = as_u(scaled) + (0x3f800000u - 0x3f3504f3u);
    const std::int32_t k = static_cast<std::int32_t>(bits >> 23) - (tiny ? 127 + 23 : 127);
    const float m = as_f((bits & 0x007fffffu) + 0x3f3504f3u);
    return log_or_special(x, log_of(m - 1.0f, static_cast<float>(k)));
}
#ifdef MLCORE_WIDE
INL Wide log_(Wide x) {
    const WideParts p = log_parts(x);
    return log_or_special(x, log_of(p.f, p.k));
}
#endif

// ---- double helpers behind float32 functions: about 1e-11 relative, twice what float32 needs -----------------

INL double exp2_wide(double t) {  // 2^t for |t| <= 1000
    const double magic = 6755399441055744.0;  // 1.5 * 2^52
    const double u = t + magic;
    const double r = (t - (u - magic)) * 0.6931471805599453;
    double p = 2.4801587301587302e-05;
    p = mad(p, r, 1.9841269841269841e-04);
    p = mad(p, r, 1.3888888888888889e-03);
    p = mad(p, r, 8.3333333333333332e-03);
    p = mad(p, r, 4.1666666666666664e-02);
    p = mad(p, r, 1.6666666666666666e-01);
    p = mad(p, r, 0.5);
    p = mad(p, r, 1.0);
    p = mad(p, r, 1.0);
    return p * as_d((as_u(u) + 1023) << 52);
}
INL double exp_wide(float x) {
    const float c = x > 200.0f ? 200.0f : (x < -200.0f ? -200.0f : x);
    return exp2_wide(static_cast<double>(c) * 1.4426950408889634);
}
INL double log_ratio(double m) {  // log(m) for m in [sqrt(1/2), sqrt(2)]
    const double s = (m - 1.0) / (m + 1.0), z = s * s;
    double p = 0.15384615384615385;  // 2/13
    p = mad(p, z, 0.18181818181818182);
    p = mad(p, z, 0.22222222222222222);
    p = mad(p, z, 0.28571428571428571);
    p = mad(p, z, 0.4);
    p = mad(p, z, 0.66666666666666667);
    p = mad(p, z, 2.0);
    return s * p;
}
struct LogParts { double mantissa, exponent; };
INL LogParts log_parts(double y) {  // y positive, finite, normal
    const std::uint64_t bits = as_u(y) + (0x3ff0000000000000ull - 0x3fe6a09e667f3bcdull);
    const std::uint64_t k = bits >> 52;
    const double m = as_d((bits & 0x000fffffffffffffull) + 0x3fe6a09e667f3bcdull);
    const double dk = as_d(k | 0x4330000000000000ull) - (4503599627370496.0 + 1023.0);
    return {log_ratio(m), dk};
}
INL double log_wide(double y) {
    const LogParts p = log_parts(y);
    return mad(p.exponent, 0.6931471805599453, p.mantissa);
}
INL double log2_wide(double y) {
    const LogParts p = log_parts(y);
    return mad(p.mantissa, 1.4426950408889634, p.exponent);
}
INL float log_special(float x, double y) {
    const float special = x == 0.0f ? -F_INF : (x < 0.0f ? F_NAN : x);
    return (x > 0.0f && x < F_INF) ? static_cast<float>(y) : special;
}

INL float log2_(float x) { return log_special(x, log2_wide(x)); }
INL float log10_(float x) { return log_special(x, log2_wide(x) * 0.30102999566398120); }

INL float log1p_(float x) {  // 0.6 ulp
    const double d = x;
    const float near = static_cast<float>(d - d * d * 0.5);
    const float far = static_cast<float>(log_wide(1.0 + d));
    const float y = fabs_(x) < 1e-5f ? near : far;
    const float special = x == -1.0f ? -F_INF : (x < -1.0f ? F_NAN : x);  // inf and nan pass
    const float found = ((x > -1.0f) & (x < F_INF)) ? y : special;
    return x == 0.0f ? x : found;
}

INL float sinh_(float x) {
    const double e = exp_wide(x), d = x;
    const double y = fabs_(x) < 1e-2f ? d + d * d * d * (1.0 / 6.0 + d * d * (1.0 / 120.0)) : 0.5 * (e - 1.0 / e);
    return x == 0.0f ? x : static_cast<float>(y);
}
INL float cosh_(float x) {
    const double e = exp_wide(x);
    return static_cast<float>(0.5 * (e + 1.0 / e));
}
template <class F> INL F tanh_(F x) {  // 3 ulp
    const F e = expm1_(at_most(F(10.0f), fabs_(x)) * F(2.0f));
    return copysign_(e / (e + F(2.0f)), x);
}
INL float asinh_(float x) {
    const double a = fabs_(static_cast<double>(x));
    const float y = static_cast<float>(a < 1e-3 ? a - a * a * a * (1.0 / 6.0) : log_wide(a + __builtin_sqrt(a * a + 1.0)));
    return fabs_(x) < F_INF ? copysign_(y, x) : x;
}
INL float acosh_(float x) {
    const double d = x;
    const float y = static_cast<float>(log_wide(d + __builtin_sqrt(d * d - 1.0)));
    return x >= 1.0f ? (x < F_INF ? (x == 1.0f ? 0.0f : y) : x) : F_NAN;
}
INL float atanh_(float x) {
    const double a = fabs_(static_cast<double>(x));
    const float y = static_cast<float>(a < 1e-3 ? a + a * a * a * (1.0 / 3.0) : 0.5 * log_wide((1.0 + a) / (1.0 - a)));
    return copysign_(a < 1.0 ? y : (a == 1.0 ? F_INF : F_NAN), x);
}

// sin, cos, tan: reduction by pi/2 in double, good for |x| < 1e5; the loops send larger ones to libm.
constexpr float TRIG_LIMIT = 1e5f;
struct Quadrant { double r; std::uint64_t q; };
INL Quadrant reduce_pio2(float x) {
    const double magic = 6755399441055744.0, d = x;
    const double u = mad(d, 6.36619772367581382433e-01, magic);
    const double n = u - magic;
    return {d - n * 1.57079631090164184570e+00 - n * 1.58932547735281966916e-08, as_u(u)};
}
INL double sin_poly(double x) {
    const double z = x * x, w = z * z, s = z * x;
    const double r = mad(z, 0.0000027183114939898219064, -0.000198393348360966317347);
    return (x + s * mad(z, 0.0083333293858894631756, -0.166666666416265235595)) + s * w * r;
}
INL double cos_poly(double x) {
    const double z = x * x, w = z * z;
    const double r = mad(z, 0.0000243904487962774090654, -0.00138867637746099294692);
    return mad(z, -0.499999997251031003120, 1.0) + w * 0.0416666233237390631894 + (w * z) * r;
}
INL float sin_(float x) {
    const Quadrant k = reduce_pio2(x);
    const double y = (k.q & 1) ? cos_poly(k.r) : sin_poly(k.r);
    return x == 0.0f ? x : static_cast<float>((k.q & 2) ? -y : y);
}
INL float cos_(float x) {
    const Quadrant k = reduce_pio2(x);
    const double y = (k.q & 1) ? sin_poly(k.r) : cos_poly(k.r);
    return static_cast<float>(((k.q + 1) & 2) ? -y : y);
}
INL float tan_(float x) {
    const Quadrant k = reduce_pio2(x);
    const double s = sin_poly(k.r), c = cos_poly(k.r);
    return x == 0.0f ? x : static_cast<float>((k.q & 1) ? -c / s : s / c);
}

// Inverse trigonometric functions through one arc tangent in double, good to 1e-10.
INL double atan_wide(double a) {  // a >= 0, inf included
    const bool far = a > 2.414213562373095, middle = a > 0.41421356237309503;
    const double t = (far ? -1.0 : (middle ? a - 1.0 : a)) / (far ? a : (middle ? a + 1.0 : 1.0));
    const double z = t * t;
    double p = -0.04;
    p = mad(p, z, 0.043478260869565216);
    p = mad(p, z, -0.047619047619047616);
    p = mad(p, z, 0.052631578947368418);
    p = mad(p, z, -0.058823529411764705);
    p = mad(p, z, 0.066666666666666666);
    p = mad(p, z, -0.076923076923076927);
    p = mad(p, z, 0.090909090909090912);
    p = mad(p, z, -0.11111111111111111);
    p = mad(p, z, 0.14285714285714285);
    p = mad(p, z, -0.2);
    p = mad(p, z, 0.33333333333333333);
    p = t - t * z * p;
    return p + (far ? 1.5707963267948966 : (middle ? 0.78539816339744831 : 0.0));
}
INL float atan_(float x) {
    const float y = static_cast<float>(atan_wide(fabs_(static_cast<double>(x))));
    return x != x ? x : copysign_(y, x);
}
INL float asin_(float x) {
    const double a = fabs_(static_cast<double>(x));
    const float y = static_cast<float>(atan_wide(a / __builtin_sqrt((1.0 - a) * (1.0 + a))));
    return a <= 1.0 ? copysign_(y, x) : F_NAN;
}
INL float acos_(float x) {
    const double d = x;
    const float y = static_cast<float>(2.0 * atan_wide(__builtin_sqrt((1.0 - d) / (1.0 + d))));
    return fabs_(x) <= 1.0f ? y : F_NAN;
}
INL float atan2_(float y, float x) {
    const double a = fabs_(static_cast<double>(y)), b = fabs_(static_cast<double>(x));
    const double ratio = a == b ? (a == 0.0 ? 0.0 : 1.0) : a / b;  // 0/0 and inf/inf have answers
    const double r = atan_wide(ratio);
    const float found = static_cast<float>((as_u(x) >> 31) ? 3.1415926535897932 - r : r);
    return ((x != x) | (y != y)) ? x + y : copysign_(found, y);
}

template <class F> INL F erf_(F x) {  // 1 ulp; minimax pieces after N. Juffa
    const F t = fabs_(x), s = x * x;
    F r = mad(F(-1.72853470e-5f), t, F(3.83197126e-4f));
    const F u = mad(F(-3.88396438e-3f), t, F(2.42546219e-2f));
    r = mad(r, s, u);
    r = mad(r, t, F(-1.06777877e-1f));
    r = mad(r, t, F(-6.34846687e-1f));
    r = mad(r, t, F(-1.28717512e-1f));
    r = mad(r, t, -t);
    const F far = select(t > F(4.0f), F(1.0f), F(1.0f) - exp_down(r));
    F q = F(-5.96761703e-4f);
    q = mad(q, s, F(4.99119423e-3f));
    q = mad(q, s, F(-2.67681349e-2f));
    q = mad(q, s, F(1.12819925e-1f));
    q = mad(q, s, F(-3.76125336e-1f));
    q = mad(q, s, F(1.28379166e-1f));
    q = mad(q, x, x);
    return select(x != x, x, select(t > F(0.927734375f), copysign_(far, x), q));
}

template <class F> INL F sigmoid_(F x) {  // 2.5 ulp, also where the result is subnormal
    const F e = exp_down(-fabs_(x));
    const F r = F(1.0f) / (F(1.0f) + e);
    return select(x < F(0.0f), e * r, r);  // NaN went through e
}

INL float pow_(float x, float y) {  // 1 ulp: 2^(y log2|x|) in double, then the special cases of C99
    const float a = fabs_(x);
    const double l = log2_wide(static_cast<double>(a));
    const double core = a == 0.0f ? -static_cast<double>(F_INF) : (a == F_INF ? static_cast<double>(F_INF) : (a == 1.0f ? 0.0 : l));
    double t = core * static_cast<double>(y);
    t = t > 1000.0 ? 1000.0 : (t < -1000.0 ? -1000.0 : t);  // NaN: only 0 * inf, overridden below, or y NaN
    float r = static_cast<float>(exp2_wide(t));
    r = ((a == 1.0f) & (fabs_(y) == F_INF)) ? 1.0f : r;
    const float b = fabs_(y);  // whether y is an integer, and odd
    const float nearest = b < 8388608.0f ? (b + 8388608.0f) - 8388608.0f : b;
    const bool integral = nearest == b;
    const float half = b * 0.5f;
    const float half_nearest = half < 8388608.0f ? (half + 8388608.0f) - 8388608.0f : half;
    const bool odd = integral & (half_nearest != half) & (b < 16777216.0f);
    const bool negative = (as_u(x) >> 31) != 0;
    r = (negative & odd) ? -r : r;
    r = (negative & !integral & (a != 0.0f) & (a != F_INF)) ? F_NAN : r;
    r = ((x != x) | (y != y)) ? x + y : r;
    return ((y == 0.0f) | (x == 1.0f)) ? 1.0f : r;
}

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
