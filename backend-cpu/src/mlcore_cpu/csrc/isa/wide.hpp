// Sixteen float32 in one AVX-512 register, with the operators that templates of float functions need. A loop over
// it does what gcc cannot vectorise by itself: one-instruction scaling by powers of two, tables held in registers,
// and tails by mask, so that a value does not depend on its position.
#pragma once
#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define MLCORE_WIDE 1
#include <immintrin.h>

#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // gcc 12 says it of its own intrinsics (its bug 105593)

#include "../common.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

#define INL inline __attribute__((always_inline))

struct WideMask {
    __mmask16 m;
    friend INL WideMask operator&(WideMask a, WideMask b) { return {_kand_mask16(a.m, b.m)}; }
    friend INL WideMask operator|(WideMask a, WideMask b) { return {_kor_mask16(a.m, b.m)}; }
};

struct Wide {
    static constexpr int LANES = 16;
    __m512 v;

    Wide() = default;
    INL Wide(__m512 vector) : v(vector) {}
    INL Wide(float x) : v(_mm512_set1_ps(x)) {}
    INL explicit Wide(double x) : v(_mm512_set1_ps(static_cast<float>(x))) {}
    INL explicit Wide(int x) : v(_mm512_set1_ps(static_cast<float>(x))) {}

    static INL Wide load(const float* p) { return _mm512_loadu_ps(p); }
    static INL Wide load(const float* p, i64 n) { return _mm512_maskz_loadu_ps(first(n), p); }  // n < 16
    INL void store(float* p) const { _mm512_storeu_ps(p, v); }
    INL void store(float* p, i64 n) const { _mm512_mask_storeu_ps(p, first(n), v); }
    static INL __mmask16 first(i64 n) { return static_cast<__mmask16>((1u << n) - 1u); }

    friend INL Wide operator+(Wide a, Wide b) { return _mm512_add_ps(a.v, b.v); }
    friend INL Wide operator-(Wide a, Wide b) { return _mm512_sub_ps(a.v, b.v); }
    friend INL Wide operator*(Wide a, Wide b) { return _mm512_mul_ps(a.v, b.v); }
    friend INL Wide operator/(Wide a, Wide b) { return _mm512_div_ps(a.v, b.v); }
    friend INL Wide operator-(Wide a) { return _mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f)); }
    friend INL WideMask operator<(Wide a, Wide b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
    friend INL WideMask operator>(Wide a, Wide b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
    friend INL WideMask operator>=(Wide a, Wide b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
    friend INL WideMask operator==(Wide a, Wide b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
    friend INL WideMask operator!=(Wide a, Wide b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_NEQ_UQ)}; }
};

INL Wide mad(Wide a, Wide b, Wide c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
INL Wide select(WideMask c, Wide a, Wide b) { return _mm512_mask_blend_ps(c.m, b.v, a.v); }
INL Wide fabs_(Wide x) { return _mm512_abs_ps(x.v); }
INL Wide copysign_(Wide x, Wide s) {
    const __m512i sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(sign, _mm512_castps_si512(s.v), _mm512_castps_si512(x.v), 0xCA));
}
// Of a NaN in x nothing is lost: the instructions give their second operand then.
INL Wide at_least(Wide low, Wide x) { return _mm512_max_ps(low.v, x.v); }
INL Wide at_most(Wide high, Wide x) { return _mm512_min_ps(high.v, x.v); }
INL Wide scale2(Wide y, Wide n) { return _mm512_scalef_ps(y.v, n.v); }  // y * 2^n, rounded once, subnormals too

// Value k of a table of 32 floats for each lane's k, held in the low bits of `index`.
INL Wide lookup(const float* table, __m512i index) {
    return _mm512_permutex2var_ps(_mm512_loadu_ps(table), index, _mm512_loadu_ps(table + 16));
}

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
#endif
