// Sigmoid and tanh for gates: a reciprocal and its correction in place of a division, a rational function for tanh.
// float32 within 6 ulp; the same on one element and on a register.
#pragma once
#include "ops.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

INL float reciprocal(float x) { return 1.0f / x; }
INL float two_to(const Split<float>& s) { return pow2(static_cast<std::int32_t>(as_u(s.magic_n) - 0x4B400000u)); }
#ifdef MLCORE_WIDE
INL Wide reciprocal(Wide x) {
    return each([&](int k) {
        const __m512 r = _mm512_rcp14_ps(x.v[k]);
        return _mm512_fmadd_ps(_mm512_fnmadd_ps(x.v[k], r, _mm512_set1_ps(1.0f)), r, r);
    });
}
INL Wide two_to(const Split<Wide>& s) { return scale2(Wide(1.0f), s.n); }
#endif

template <class F> INL F gate_sigmoid(F x) {  // 1 / (1 + exp(-x)); below -87 the result is that of -87, 2^-125
    const Split<F> s = split_ln2(at_most(F(87.0f), at_least(F(-87.0f), -x)));
    const F scale = two_to(s);
    return reciprocal(mad(exp_poly(s.r), scale, scale) + F(1.0f));
}
// Remez' x P(x^2) / Q(x^2) for the smallest relative error, 2.1e-8, in [0, 9.02], where tanh becomes 1.
template <class F> INL F gate_tanh(F x) {
    const F c = at_most(F(9.02f), at_least(F(-9.02f), x)), z = c * c;
    F p = F(1.3319030964e-8f);
    p = mad(p, z, F(2.05834502263e-5f));
    p = mad(p, z, F(3.49403261219e-3f));
    p = mad(p, z, F(1.33797162798e-1f));
    p = mad(p, z, F(0.999999979012f));
    F q = F(7.76200223308e-7f);
    q = mad(q, z, F(3.28308969751e-4f));
    q = mad(q, z, F(2.58710657265e-2f));
    q = mad(q, z, F(4.67130315189e-1f));
    q = mad(q, z, F(1.0f));
    return at_most(F(1.0f), at_least(F(-1.0f), c * p * reciprocal(q)));
}
template <> INL double gate_sigmoid(double x) { return sigmoid(x); }
template <> INL double gate_tanh(double x) { return tanh(x); }

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
