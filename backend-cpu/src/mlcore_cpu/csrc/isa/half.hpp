// float16 and bfloat16 <-> float32, round to nearest even, NaN kept; vectorised on every instruction set.
#pragma once
#include "loops.hpp"
#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

[[maybe_unused]] void bf16_to_f32(const void* xv, void* yv, i64 n) {
    const std::uint16_t* __restrict x = static_cast<const std::uint16_t*>(xv);
    float* __restrict y = static_cast<float*>(yv);
    for (i64 i = 0; i < n; ++i) y[i] = as_f(static_cast<std::uint32_t>(x[i]) << 16);
}

[[maybe_unused]] void f32_to_bf16(const void* xv, void* yv, i64 n) {
    const float* __restrict x = static_cast<const float*>(xv);
    std::uint16_t* __restrict y = static_cast<std::uint16_t*>(yv);
    for (i64 i = 0; i < n; ++i) {
        const std::uint32_t u = as_u(x[i]);
        const std::uint32_t rounded = u + 0x7fffu + ((u >> 16) & 1u);
        const std::uint32_t nan = (u | 0x00400000u);
        y[i] = static_cast<std::uint16_t>(((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded) >> 16);
    }
}

INL float half_to_float(std::uint16_t h) {
    const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16, bits = h & 0x7fffu;
    const float normal = as_f((bits << 13) + (112u << 23));
    const float subnormal = static_cast<float>(static_cast<std::int32_t>(bits)) * 5.9604644775390625e-8f;  // 2^-24
    const float special = as_f((bits << 13) | 0x7f800000u | ((bits & 0x3ffu) ? 0x400000u : 0u));
    const float y = bits >= 0x7c00u ? special : (bits < 0x400u ? subnormal : normal);
    return as_f(as_u(y) | sign);
}
INL std::uint16_t float_to_half(float f) {
    const std::uint32_t u = as_u(f), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    const std::uint32_t normal = (a - (112u << 23) + 0xfffu + ((a >> 13) & 1u)) >> 13;
    const std::uint32_t subnormal = as_u(as_f(a) + 0.5f) - 0x3f000000u;  // the addition rounds to 2^-24
    std::uint32_t y = a < 0x38800000u ? subnormal : normal;
    y = a >= 0x477ff000u ? 0x7c00u : y;
    y = a > 0x7f800000u ? 0x7e00u | ((a >> 13) & 0x3ffu) : y;
    return static_cast<std::uint16_t>(y | sign);
}

[[maybe_unused]] void f16_to_f32(const void* xv, void* yv, i64 n) {
    const std::uint16_t* __restrict x = static_cast<const std::uint16_t*>(xv);
    float* __restrict y = static_cast<float*>(yv);
    i64 i = 0;
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i))));
#endif
    for (; i < n; ++i) y[i] = half_to_float(x[i]);
}

[[maybe_unused]] void f32_to_f16(const void* xv, void* yv, i64 n) {
    const float* __restrict x = static_cast<const float*>(xv);
    std::uint16_t* __restrict y = static_cast<std::uint16_t*>(yv);
    i64 i = 0;
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), 0));
#endif
    for (; i < n; ++i) y[i] = float_to_half(x[i]);
}

// A wide value to float32 rounded to odd, so that the next rounding (to 16 bits) is the only one that counts.
template <class From>
void odd_float_loop(const void* xv, void* yv, i64 n) {
    const From* __restrict x = static_cast<const From*>(xv);
    float* __restrict y = static_cast<float*>(yv);
    for (i64 i = 0; i < n; ++i) {
        const double d = static_cast<double>(x[i]);
        const float f = static_cast<float>(d);
        const double back = f;
        const bool inexact = back != d, away = fabs_(back) > fabs_(d);
        const std::uint32_t odd = (as_u(f) - (away ? 1u : 0u)) | 1u;
        y[i] = (inexact & (d == d)) ? as_f(odd) : f;
    }
}

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
