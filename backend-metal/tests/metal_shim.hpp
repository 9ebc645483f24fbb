// Metal's language as far as kernels here use it, for a C++ compiler on a processor: its address spaces mean nothing
// there, its types and functions have names of their own, and a grid is a loop.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#define device
#define constant
#define thread
#define threadgroup

using uchar = unsigned char;
using ushort = unsigned short;
using uint = unsigned int;
using ulong = unsigned long;

struct uint3 {
    uint x, y, z;
};

// Two-byte floats: the compiler's own, which round to nearest as Metal's do.
using half = _Float16;
using float16_t = half;
struct bfloat16_t {
    uint16_t bits;
    bfloat16_t() = default;
    bfloat16_t(float x) {
        uint32_t u;
        std::memcpy(&u, &x, 4);
        bits = x != x ? uint16_t((u >> 16) | 64) : uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
    }
    operator float() const {
        uint32_t u = uint32_t(bits) << 16;
        float x;
        std::memcpy(&x, &u, 4);
        return x;
    }
};
using bfloat = bfloat16_t;

template <typename To, typename From>
inline To as_type(From x) {
    static_assert(sizeof(To) == sizeof(From));
    To y;
    std::memcpy(&y, &x, sizeof y);
    return y;
}

namespace metal {
using std::abs;
using std::fabs;
using std::isinf;
using std::isnan;
using std::signbit;
inline float acos(float x) { return std::acos(x); }
inline float acosh(float x) { return std::acosh(x); }
inline float asin(float x) { return std::asin(x); }
inline float asinh(float x) { return std::asinh(x); }
inline float atan(float x) { return std::atan(x); }
inline float atan2(float y, float x) { return std::atan2(y, x); }
inline float atanh(float x) { return std::atanh(x); }
inline float ceil(float x) { return std::ceil(x); }
inline float copysign(float x, float y) { return std::copysign(x, y); }
inline float cos(float x) { return std::cos(x); }
inline float cosh(float x) { return std::cosh(x); }
inline float exp(float x) { return std::exp(x); }
inline float exp2(float x) { return std::exp2(x); }
inline float floor(float x) { return std::floor(x); }
inline float fma(float x, float y, float z) { return std::fma(x, y, z); }
inline float fmod(float x, float y) { return std::fmod(x, y); }
inline float log(float x) { return std::log(x); }
inline float log10(float x) { return std::log10(x); }
inline float log2(float x) { return std::log2(x); }
inline float nextafter(float x, float y) { return std::nextafter(x, y); }
inline float pow(float x, float y) { return std::pow(x, y); }
inline float rint(float x) { return std::rint(x); }
inline float rsqrt(float x) { return 1.0f / std::sqrt(x); }
inline float sin(float x) { return std::sin(x); }
inline float sinh(float x) { return std::sinh(x); }
inline float sqrt(float x) { return std::sqrt(x); }
inline float tan(float x) { return std::tan(x); }
inline float tanh(float x) { return std::tanh(x); }
inline float trunc(float x) { return std::trunc(x); }
namespace precise {
using namespace metal;
inline float sqrt(float x) { return std::sqrt(x); }
}  // namespace precise
}  // namespace metal
using namespace metal;
