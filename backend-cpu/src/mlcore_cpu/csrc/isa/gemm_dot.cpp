// Products of bfloat16 and of int8 by instructions that multiply neighbours along k and add them up in 32 bits, where
// this processor has them.
#include "gemm_pack.hpp"
#include "isa_tables.hpp"

#if defined(__AVX512F__)

#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx512bf16,avx512vnni")
#include "gemm_block.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

using Unit32 = std::int32_t;

// y[p * ld + j] = the PER elements x[j * stride + (p * PER ...) * k_stride], zeros past k and width.
template <class Bits, i64 PER>
void pack_units(const Bits* x, i64 stride, i64 k_stride, i64 width, i64 ld, i64 k, Unit32* y, std::uint32_t flip) {
    constexpr int SHIFT = 8 * sizeof(Bits);
    const i64 whole = k / PER, all = ceil_div(k, PER);
    auto unit = [&](i64 p, i64 j) {
        std::uint32_t u = 0;
        for (i64 q = 0; q < PER && p * PER + q < k; ++q)
            u |= static_cast<std::uint32_t>(x[j * stride + (p * PER + q) * k_stride]) << (SHIFT * q);
        return static_cast<Unit32>(u);
    };
    if (k_stride == 1) {
        for (i64 j = 0; j < width; j += 16) {  // rows of units, turned; a row need not start at four bytes
            const i64 n = std::min<i64>(16, width - j);
            Unit32 rows[16 * 64];
            for (i64 p = 0; p < whole; p += 64) {
                const i64 count = std::min<i64>(64, whole - p);
                for (i64 i = 0; i < n; ++i) std::memcpy(rows + i * 64, x + (j + i) * stride + p * PER, count * sizeof(Unit32));
                transpose(rows, 64, n, count, y + p * ld + j, ld);
            }
        }
    } else if (stride == 1) {
        for (i64 p = 0; p < whole; ++p) {
            const Bits* from = x + p * PER * k_stride;
            std::uint32_t* __restrict to = reinterpret_cast<std::uint32_t*>(y + p * ld);
            for (i64 j = 0; j < width; ++j) {
                std::uint32_t u = 0;
                for (i64 q = 0; q < PER; ++q) u |= static_cast<std::uint32_t>(from[q * k_stride + j]) << (SHIFT * q);
                to[j] = u;
            }
        }
    } else {
        for (i64 p = 0; p < whole; ++p)
            for (i64 j = 0; j < width; ++j) y[p * ld + j] = unit(p, j);
    }
    for (i64 p = whole; p < all; ++p)
        for (i64 j = 0; j < width; ++j) y[p * ld + j] = unit(p, j);
    for (i64 p = 0; p < all; ++p)
        for (i64 j = width; j < ld; ++j) y[p * ld + j] = 0;
    if (flip)
        for (i64 i = 0; i < all * ld; ++i) y[i] ^= static_cast<Unit32>(flip);
}

struct DotBrain {
    using From = Brain;
    using Unit = Unit32;
    using Sum = float;
    static constexpr i64 PER = 2;
    static constexpr bool SHIFTED = false;
    static INL void mac(Vec<float>& sum, Vec<Unit32> b, Unit32 a) {
        sum = reinterpret_cast<Vec<float>>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(b),
                                                            reinterpret_cast<__m512bh>(_mm512_set1_epi32(a))));
    }
    static void pack(const Brain* x, i64 stride, i64 k_stride, i64 width, i64 ld, i64 k, Unit32* y, bool) {
        pack_units<std::uint16_t, PER>(&x->bits, stride, k_stride, width, ld, k, y, 0);
    }
};

// The instruction takes one operand as unsigned: it gets a + 128, and the sums start from what that adds, negative.
struct DotByte {
    using From = std::int8_t;
    using Unit = Unit32;
    using Sum = std::int32_t;
    static constexpr i64 PER = 4;
    static constexpr bool SHIFTED = true;
    static INL void mac(Vec<Sum>& sum, Vec<Unit32> b, Unit32 a) {
        sum = reinterpret_cast<Vec<Sum>>(
            _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), _mm512_set1_epi32(a), reinterpret_cast<__m512i>(b)));
    }
    static void pack(const std::int8_t* x, i64 stride, i64 k_stride, i64 width, i64 ld, i64 k, Unit32* y, bool of_a) {
        pack_units<std::uint8_t, PER>(reinterpret_cast<const std::uint8_t*>(x), stride, k_stride, width, ld, k, y,
                                      of_a ? 0x80808080u : 0u);
    }
    // -128 times the sums of a panel's columns
    static void shift(i64 k, const Unit32* panel, Sum* to) {
        constexpr int W = Lanes<Unit32>;
        const __m512i shifts = _mm512_set1_epi8(static_cast<char>(0x80));
        __m512i sums[2] = {};
        for (i64 p = 0; p < k; ++p)
            for (int j = 0; j < 2; ++j) sums[j] = _mm512_dpbusd_epi32(sums[j], shifts, _mm512_loadu_si512(panel + p * 2 * W + j * W));
        for (int j = 0; j < 2; ++j) _mm512_storeu_si512(to + j * W, _mm512_sub_epi32(_mm512_setzero_si512(), sums[j]));
    }
};

}  // namespace

void add_dot_kernels(GemmTable& t) {
    static const GemmKernel brain = kernel<DotBrain>(BF16, F32), byte = kernel<DotByte>(I8, I32);
    if (__builtin_cpu_supports("avx512bf16")) t.of[BF16] = &brain;
    if (__builtin_cpu_supports("avx512vnni")) t.of[I8] = &byte;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
#pragma GCC pop_options

#else

namespace mlcore_cpu {
namespace MLCORE_ISA {
void add_dot_kernels(GemmTable&) {}
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu

#endif
