// Loop templates over contiguous memory: the only place where elementwise bodies meet memory.
#pragma once
#include <type_traits>

#include "../tables.hpp"
#include "ops.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

template <int D> struct CType;
template <> struct CType<BOOL> { using type = std::uint8_t; };
template <> struct CType<I8> { using type = std::int8_t; };
template <> struct CType<I16> { using type = std::int16_t; };
template <> struct CType<I32> { using type = std::int32_t; };
template <> struct CType<I64> { using type = std::int64_t; };
template <> struct CType<U8> { using type = std::uint8_t; };
template <> struct CType<U16> { using type = std::uint16_t; };
template <> struct CType<U32> { using type = std::uint32_t; };
template <> struct CType<U64> { using type = std::uint64_t; };
template <> struct CType<F32> { using type = float; };
template <> struct CType<F64> { using type = double; };
template <int D> using ctype = typename CType<D>::type;

// Asks for what a loop over contiguous memory reads a little later: the processor's own prefetch stops at each page of
// 4 KiB, and waits at the start of the next. Behind the end of an array it does no harm.
template <int ELEMENTS, class T> INL void ahead(const T* x) {
    constexpr int BYTES = 8192;
    for (int at = 0; at < ELEMENTS * static_cast<int>(sizeof(T)); at += 64)
        __builtin_prefetch(reinterpret_cast<const char*>(x) + BYTES + at);
}

// Bodies that loop over registers where there are any (wide.hpp); specialised where they are listed.
template <class Op> struct RunsWide { static constexpr bool value = false; };
template <class Op, class T, class R>
inline constexpr bool WIDE = RunsWide<Op>::value && std::is_same<T, float>::value && std::is_same<R, float>::value;

template <class Op, class T, class R>
void unary_loop(const void* xv, void* yv, i64 n) {
    const T* __restrict x = static_cast<const T*>(xv);
    R* __restrict y = static_cast<R*>(yv);
#ifdef MLCORE_WIDE
    if constexpr (WIDE<Op, T, R>) {
        i64 i = 0;
        for (; i + Wide::LANES <= n; i += Wide::LANES) Op::template f<Wide>(Wide::load(x + i)).store(y + i);
        if (i < n) Op::template f<Wide>(Wide::load(x + i, n - i)).store(y + i, n - i);
        return;
    }
#endif
    for (i64 i = 0; i < n; ++i) y[i] = static_cast<R>(Op::template f<T>(x[i]));
}

// Bodies with sin, cos or tan: the vector loop, then the rare huge arguments again through libm in double.
template <class Op, class T, class R>
void trig_loop(const void* xv, void* yv, i64 n) {
    if constexpr (sizeof(T) == 4) {
        const T* __restrict x = static_cast<const T*>(xv);
        R* __restrict y = static_cast<R*>(yv);
        for (i64 start = 0; start < n; start += 512) {
            const i64 stop = start + 512 < n ? start + 512 : n;
            int huge = 0;
            for (i64 i = start; i < stop; ++i) {
                y[i] = static_cast<R>(Op::template f<T>(x[i]));
                huge |= fabs_(x[i]) > TRIG_LIMIT;
            }
            if (__builtin_expect(huge, 0)) {
                for (i64 i = start; i < stop; ++i)
                    if (fabs_(x[i]) > TRIG_LIMIT) y[i] = static_cast<R>(Op::template f<double>(static_cast<double>(x[i])));
            }
        }
    } else {
        unary_loop<Op, T, R>(xv, yv, n);
    }
}

template <class Op, class T, class R>
void binary_loop(const void* av, const void* bv, void* yv, i64 n, int mode) {
    const T* __restrict a = static_cast<const T*>(av);
    const T* __restrict b = static_cast<const T*>(bv);
    R* __restrict y = static_cast<R*>(yv);
#ifdef MLCORE_WIDE
    if constexpr (WIDE<Op, T, R>) {
        const auto left = [&](i64 i, i64 m) { return mode == 1 ? Wide(*a) : (m < Wide::LANES ? Wide::load(a + i, m) : Wide::load(a + i)); };
        const auto right = [&](i64 i, i64 m) { return mode == 2 ? Wide(*b) : (m < Wide::LANES ? Wide::load(b + i, m) : Wide::load(b + i)); };
        i64 i = 0;
        for (; i + Wide::LANES <= n; i += Wide::LANES) Op::template f<Wide>(left(i, Wide::LANES), right(i, Wide::LANES)).store(y + i);
        if (i < n) Op::template f<Wide>(left(i, n - i), right(i, n - i)).store(y + i, n - i);
        return;
    }
#endif
    if (mode == 0) {
        for (i64 i = 0; i < n; ++i) y[i] = static_cast<R>(Op::template f<T>(a[i], b[i]));
    } else if (mode == 1) {
        const T left = *a;
        for (i64 i = 0; i < n; ++i) y[i] = static_cast<R>(Op::template f<T>(left, b[i]));
    } else {
        const T right = *b;
        for (i64 i = 0; i < n; ++i) y[i] = static_cast<R>(Op::template f<T>(a[i], right));
    }
}

// How table lines spell dtypes.
#define FOR_BOOL(M, ...) M(BOOL, __VA_ARGS__)
#define FOR_INT(M, ...) M(I8, __VA_ARGS__) M(I16, __VA_ARGS__) M(I32, __VA_ARGS__) M(I64, __VA_ARGS__)
#define FOR_UINT(M, ...) M(U8, __VA_ARGS__) M(U16, __VA_ARGS__) M(U32, __VA_ARGS__) M(U64, __VA_ARGS__)
#define FOR_FLOAT(M, ...) M(F32, __VA_ARGS__) M(F64, __VA_ARGS__)

#define OUT_SAME(T) T
#define OUT_BOOL(T) bool
#define OUTCODE_SAME(D) D
#define OUTCODE_BOOL(D) BOOL
#define STORE_SAME(D) ctype<D>
#define STORE_BOOL(D) std::uint8_t

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
