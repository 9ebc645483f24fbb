// A strip of float32 in AVX-512 registers, with the operators that templates of float functions need. A loop over it
// does what gcc cannot vectorise by itself: one-instruction scaling by powers of two, tables held in registers, and
// tails by mask, so that a value does not depend on its position. N registers side by side were slower than one.
#pragma once
#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define MLCORE_WIDE 1
#include <immintrin.h>

#include "../common.hpp"

#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // gcc 12 says it of its own intrinsics (its bug 105593)

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

#define INL inline __attribute__((always_inline))

struct Wide {
    static constexpr int N = 1, LANES = 16 * N;
    __m512 v[N];

    Wide() = default;
    INL Wide(float x) { for (__m512& one : v) one = _mm512_set1_ps(x); }
    INL explicit Wide(double x) : Wide(static_cast<float>(x)) {}
    INL explicit Wide(int x) : Wide(static_cast<float>(x)) {}

    static INL Wide load(const float* p) {
        Wide y;
        for (int k = 0; k < N; ++k) y.v[k] = _mm512_loadu_ps(p + 16 * k);
        return y;
    }
    static INL Wide load(const float* p, i64 n, float rest = 0.0f) {  // n < LANES of them, then `rest`
        Wide y(rest);
        for (int k = 0; k < N; ++k) y.v[k] = _mm512_mask_loadu_ps(y.v[k], of(n, k), p + 16 * k);
        return y;
    }
    INL void store(float* p) const { for (int k = 0; k < N; ++k) _mm512_storeu_ps(p + 16 * k, v[k]); }
    INL void store(float* p, i64 n) const { for (int k = 0; k < N; ++k) _mm512_mask_storeu_ps(p + 16 * k, of(n, k), v[k]); }
    static INL __mmask16 of(i64 n, int k) {  // which lanes of register k are among the first n
        const i64 here = n - 16 * k;
        return here >= 16 ? __mmask16(0xffff) : (here <= 0 ? __mmask16(0) : __mmask16((1u << here) - 1u));
    }
};
struct WideMask { __mmask16 m[Wide::N]; };

template <class F> INL Wide each(F f) {
    Wide y;
    for (int k = 0; k < Wide::N; ++k) y.v[k] = f(k);
    return y;
}
template <class F> INL WideMask each_mask(F f) {
    WideMask y;
    for (int k = 0; k < Wide::N; ++k) y.m[k] = f(k);
    return y;
}

INL Wide operator+(Wide a, Wide b) { return each([&](int k) { return _mm512_add_ps(a.v[k], b.v[k]); }); }
INL Wide operator-(Wide a, Wide b) { return each([&](int k) { return _mm512_sub_ps(a.v[k], b.v[k]); }); }
INL Wide operator*(Wide a, Wide b) { return each([&](int k) { return _mm512_mul_ps(a.v[k], b.v[k]); }); }
INL Wide operator/(Wide a, Wide b) { return each([&](int k) { return _mm512_div_ps(a.v[k], b.v[k]); }); }
INL Wide operator-(Wide a) { return each([&](int k) { return _mm512_xor_ps(a.v[k], _mm512_set1_ps(-0.0f)); }); }
INL WideMask operator<(Wide a, Wide b) { return each_mask([&](int k) { return _mm512_cmp_ps_mask(a.v[k], b.v[k], _CMP_LT_OQ); }); }
INL WideMask operator>(Wide a, Wide b) { return each_mask([&](int k) { return _mm512_cmp_ps_mask(a.v[k], b.v[k], _CMP_GT_OQ); }); }
INL WideMask operator==(Wide a, Wide b) { return each_mask([&](int k) { return _mm512_cmp_ps_mask(a.v[k], b.v[k], _CMP_EQ_OQ); }); }
INL WideMask operator!=(Wide a, Wide b) { return each_mask([&](int k) { return _mm512_cmp_ps_mask(a.v[k], b.v[k], _CMP_NEQ_UQ); }); }
INL WideMask operator&(WideMask a, WideMask b) { return each_mask([&](int k) { return _kand_mask16(a.m[k], b.m[k]); }); }
INL WideMask operator|(WideMask a, WideMask b) { return each_mask([&](int k) { return _kor_mask16(a.m[k], b.m[k]); }); }

INL Wide mad(Wide a, Wide b, Wide c) { return each([&](int k) { return _mm512_fmadd_ps(a.v[k], b.v[k], c.v[k]); }); }
INL Wide select(WideMask c, Wide a, Wide b) { return each([&](int k) { return _mm512_mask_blend_ps(c.m[k], b.v[k], a.v[k]); }); }
INL Wide fabs_(Wide x) { return each([&](int k) { return _mm512_abs_ps(x.v[k]); }); }
INL Wide copysign_(Wide x, Wide s) {
    const __m512i sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
    return each([&](int k) {
        return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(sign, _mm512_castps_si512(s.v[k]), _mm512_castps_si512(x.v[k]), 0xCA));
    });
}
// Of a NaN in x nothing is lost: the instructions give their second operand then.
INL Wide at_least(Wide low, Wide x) { return each([&](int k) { return _mm512_max_ps(low.v[k], x.v[k]); }); }
INL Wide at_most(Wide high, Wide x) { return each([&](int k) { return _mm512_min_ps(high.v[k], x.v[k]); }); }
// y * 2^n, rounded once, subnormals too
INL Wide scale2(Wide y, Wide n) { return each([&](int k) { return _mm512_scalef_ps(y.v[k], n.v[k]); }); }

// The entries of a table of 32 floats that the low five bits of `index` name.
INL Wide lookup(const float* table, Wide index) {
    const __m512 low = _mm512_loadu_ps(table), high = _mm512_loadu_ps(table + 16);
    return each([&](int k) { return _mm512_permutex2var_ps(low, _mm512_castps_si512(index.v[k]), high); });
}

// x = (1 + f) 2^k with 1 + f in [sqrt(1/2), sqrt(2)), for positive x, subnormals too.
struct WideParts { Wide f, k; };
INL WideParts log_parts(Wide x) {
    WideParts y;
    for (int k = 0; k < Wide::N; ++k) {
        const __m512 one = _mm512_set1_ps(1.0f);
        const __m512 m = _mm512_getmant_ps(x.v[k], _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero), e = _mm512_getexp_ps(x.v[k]);
        const __mmask16 upper = _mm512_cmp_ps_mask(m, _mm512_set1_ps(1.41421354f), _CMP_GE_OQ);
        y.f.v[k] = _mm512_sub_ps(_mm512_mask_mul_ps(m, upper, m, _mm512_set1_ps(0.5f)), one);
        y.k.v[k] = _mm512_mask_add_ps(e, upper, e, one);
    }
    return y;
}

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
#endif
