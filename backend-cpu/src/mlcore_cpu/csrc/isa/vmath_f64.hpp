// float64 functions that gcc vectorises: no branches, no tables, no libm. The rules are those of vmath_f32.hpp.
#pragma once
#include "vmath_f32.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

// x = n ln2 + r; k = n + 2048, which is positive.
struct SplitF64 { double r; std::uint64_t k; };
INL SplitF64 split_ln2_f64(double x) {
    const double magic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer, in the low bits
    const double t = mad(x, 1.4426950408889634, magic), n = t - magic;
    const double r = mad(n, -1.90821492927058770002e-10, mad(n, -6.93147180369123816490e-01, x));  // the first product is exact
    return {r, as_u(t) - as_u(magic) + 2048};
}
INL double exp_poly_f64(double r) {  // exp(r) - 1 for |r| <= ln2 / 2, by Taylor's series to r^13
    double p = 1.6059043836821613e-10;
    p = mad(p, r, 2.0876756987868099e-09);
    p = mad(p, r, 2.5052108385441719e-08);
    p = mad(p, r, 2.7557319223985891e-07);
    p = mad(p, r, 2.7557319223985893e-06);
    p = mad(p, r, 2.4801587301587302e-05);
    p = mad(p, r, 1.9841269841269841e-04);
    p = mad(p, r, 1.3888888888888889e-03);
    p = mad(p, r, 8.3333333333333332e-03);
    p = mad(p, r, 4.1666666666666664e-02);
    p = mad(p, r, 1.6666666666666666e-01);
    p = mad(p, r, 0.5);
    return mad(p, r * r, r);
}
INL double exp_(double x) {  // 1 ulp
    const SplitF64 s = split_ln2_f64(x > 710.0 ? 710.0 : (x < -746.0 ? -746.0 : x));
    const std::uint64_t half = s.k >> 1;  // two factors, so that subnormals and the largest values come out
    return (exp_poly_f64(s.r) + 1.0) * as_d((half - 1) << 52) * as_d((s.k - half - 1) << 52);
}
INL double expm1_(double x) {  // 1.5 ulp
    const SplitF64 s = split_ln2_f64(x > 710.0 ? 710.0 : (x < -40.0 ? -40.0 : x));
    const double e = exp_poly_f64(s.r), scale = as_d((s.k - 2048 + 1022) << 52);  // half of 2^n: n = 1024 is reachable
    const double y = mad(e, scale, scale - 0.5) * 2.0;
    return x == 0.0 ? x : y;  // keeps -0
}
INL double tanh_(double x) {  // 3 ulp
    const double a = fabs_(x), e = expm1_((a > 22.0 ? 22.0 : a) * 2.0), y = e / (e + 2.0);
    return x != x ? x : __builtin_copysign(y, x);
}
INL double sigmoid_(double x) {  // 2.5 ulp
    const double e = exp_(-fabs_(x)), r = 1.0 / (1.0 + e);
    return x < 0.0 ? e * r : r;
}
INL double log_(double x) {  // 1 ulp; fdlibm's log without its branches
    const bool tiny = x < 2.2250738585072014e-308;
    const std::uint64_t bits = as_u(tiny ? x * 18014398509481984.0 : x) + (0x3ff0000000000000ull - 0x3fe6a09e667f3bcdull);
    const double m = as_d((bits & 0x000fffffffffffffull) + 0x3fe6a09e667f3bcdull);
    const double k = as_d((bits >> 52) | 0x4330000000000000ull) - (tiny ? 4503599627370496.0 + 1023.0 + 54.0 : 4503599627370496.0 + 1023.0);
    const double f = m - 1.0, s = f / (2.0 + f), z = s * s, w = z * z;
    const double t1 = w * mad(w, mad(w, 1.531383769920937332e-01, 2.222219843214978396e-01), 3.999999999940941908e-01);
    const double t2 = z * mad(w, mad(w, mad(w, 1.479819860511658591e-01, 1.818357216161805012e-01), 2.857142874366239149e-01), 6.666666666666735130e-01);
    const double hfsq = 0.5 * f * f;
    const double y = k * 6.93147180369123816490e-01 - ((hfsq - (s * (hfsq + (t1 + t2)) + k * 1.90821492927058770002e-10)) - f);
    const double inf = __builtin_inf();
    const double special = x == 0.0 ? -inf : (x < 0.0 ? __builtin_nan("") : x);
    return (x > 0.0 && x < inf) ? y : special;
}

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
