// Transposition of a matrix of 1, 2, 4 or 8 byte elements; 4 bytes by 8x8 blocks in registers.
#include "../transpose.hpp"

#include <cstring>

#include "isa_tables.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

template <class T>
INL void corner(const T* x, i64 ld_x, T* y, i64 ld_y, i64 rows, i64 columns) {
    for (i64 j = 0; j < columns; ++j)
        for (i64 i = 0; i < rows; ++i) y[j * ld_y + i] = x[i * ld_x + j];
}

typedef float Eight __attribute__((vector_size(32)));
INL Eight load(const float* p) {
    Eight v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
INL void store(float* p, Eight v) { std::memcpy(p, &v, sizeof v); }
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)

INL void block(const float* x, i64 ld_x, float* y, i64 ld_y) {
    Eight r[8], s[8];
    for (int i = 0; i < 8; ++i) r[i] = load(x + i * ld_x);
    for (int i = 0; i < 8; i += 2) {
        s[i] = PICK(r[i], r[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        s[i + 1] = PICK(r[i], r[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int k = 0; k < 2; ++k) {
            r[i + k] = PICK(s[i + k], s[i + k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            r[i + k + 2] = PICK(s[i + k], s[i + k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; ++i) {
        store(y + i * ld_y, PICK(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11));
        store(y + (i + 4) * ld_y, PICK(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15));
    }
}

template <class T>
void transpose(const void* from, i64 ld_x, void* to, i64 ld_y, i64 rows, i64 columns) {
    const T* x = static_cast<const T*>(from);
    T* y = static_cast<T*>(to);
    constexpr i64 WIDE = 16;  // columns at a time, so that the lines of y that a strip touches stay in L1
    for (i64 j = 0; j < columns; j += WIDE) {
        const i64 w = columns - j < WIDE ? columns - j : WIDE;
        i64 i = 0;
        if constexpr (sizeof(T) == 4) {
            for (; i + 8 <= rows && w == WIDE; i += 8)
                for (i64 k = 0; k < WIDE; k += 8)
                    block(reinterpret_cast<const float*>(x + i * ld_x + j + k), ld_x, reinterpret_cast<float*>(y + (j + k) * ld_y + i), ld_y);
        }
        for (; i < rows; i += WIDE) {
            const i64 h = rows - i < WIDE ? rows - i : WIDE;
            corner(x + i * ld_x + j, ld_x, y + j * ld_y + i, ld_y, h, w);
        }
    }
}

}  // namespace

void fill_transposes(Table& t) {
    t.transpose[0] = &transpose<std::uint8_t>;
    t.transpose[1] = &transpose<std::uint16_t>;
    t.transpose[2] = &transpose<std::uint32_t>;
    t.transpose[3] = &transpose<std::uint64_t>;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
