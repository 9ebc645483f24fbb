// Conversions between dtypes, and the copies by item size that the drivers build blocks with.
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "isa_tables.hpp"
#include "half.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

template <class From, class To>
void cast_loop(const void* xv, void* yv, i64 n) {
    const From* __restrict x = static_cast<const From*>(xv);
    To* __restrict y = static_cast<To*>(yv);
    for (i64 i = 0; i < n; ++i) y[i] = convert<To>(x[i]);
}
template <class From>
void to_bool_loop(const void* xv, void* yv, i64 n) {
    const From* __restrict x = static_cast<const From*>(xv);
    std::uint8_t* __restrict y = static_cast<std::uint8_t*>(yv);
    for (i64 i = 0; i < n; ++i) y[i] = x[i] != From(0);
}

// Through a block of another dtype: 16-bit floats meet everything but float32 this way.
template <class Mid, UnaryLoop First, UnaryLoop Second, int FromSize, int ToSize>
void via_loop(const void* xv, void* yv, i64 n) {
    Mid block[512];
    const char* x = static_cast<const char*>(xv);
    char* y = static_cast<char*>(yv);
    for (i64 i = 0; i < n; i += 512) {
        const i64 m = n - i < 512 ? n - i : 512;
        First(x + i * FromSize, block, m);
        Second(block, y + i * ToSize, m);
    }
}

template <int D>
void casts_from(Table& t) {
    using From = ctype<D>;
#define TO(E) t.cast[D][E] = &cast_loop<From, ctype<E>>;
    TO(I8) TO(I16) TO(I32) TO(I64) TO(U8) TO(U16) TO(U32) TO(U64) TO(F32) TO(F64)
#undef TO
    t.cast[D][BOOL] = &to_bool_loop<From>;
    // Into 16-bit floats: small integers are exact in float32; wider values are rounded once, from double.
    constexpr bool narrow = sizeof(From) <= 2 || D == F32;
    constexpr int size = sizeof(From);
    if constexpr (D == F32) {
        t.cast[D][F16] = &f32_to_f16;
        t.cast[D][BF16] = &f32_to_bf16;
    } else if constexpr (narrow) {
        t.cast[D][F16] = &via_loop<float, &cast_loop<From, float>, &f32_to_f16, size, 2>;
        t.cast[D][BF16] = &via_loop<float, &cast_loop<From, float>, &f32_to_bf16, size, 2>;
    } else {
        t.cast[D][F16] = &via_loop<float, &odd_float_loop<From>, &f32_to_f16, size, 2>;
        t.cast[D][BF16] = &via_loop<float, &odd_float_loop<From>, &f32_to_bf16, size, 2>;
    }
    // and out of them
    if constexpr (D == F32) {
        t.cast[F16][D] = &f16_to_f32;
        t.cast[BF16][D] = &bf16_to_f32;
    } else if constexpr (D == BOOL) {
        t.cast[F16][D] = &via_loop<float, &f16_to_f32, &to_bool_loop<float>, 2, 1>;
        t.cast[BF16][D] = &via_loop<float, &bf16_to_f32, &to_bool_loop<float>, 2, 1>;
    } else {
        t.cast[F16][D] = &via_loop<float, &f16_to_f32, &cast_loop<float, From>, 2, size>;
        t.cast[BF16][D] = &via_loop<float, &bf16_to_f32, &cast_loop<float, From>, 2, size>;
    }
}

template <class T>
void gather_loop(const char* src, i64 stride, char* dst, i64 n) {
    T* __restrict y = reinterpret_cast<T*>(dst);
    if (stride == -static_cast<i64>(sizeof(T))) {
        const T* __restrict x = reinterpret_cast<const T*>(src) - (n - 1);
        for (i64 i = 0; i < n; ++i) y[i] = x[n - 1 - i];
        return;
    }
    if (stride == 2 * static_cast<i64>(sizeof(T)) && n > 0) {  // every other one: whole vectors, and no read beyond the last
        const T* __restrict x = reinterpret_cast<const T*>(src);
        for (i64 i = 0; i < n - 1; ++i) y[i] = x[2 * i];
        y[n - 1] = x[2 * n - 2];
        return;
    }
    for (i64 i = 0; i < n; ++i) y[i] = *reinterpret_cast<const T*>(src + i * stride);
}
template <class T>
void fill_loop(const char* value, char* dst, i64 n) {
    const T v = *reinterpret_cast<const T*>(value);
    T* __restrict y = reinterpret_cast<T*>(dst);
    for (i64 i = 0; i < n; ++i) y[i] = v;
}
template <class T>
void select_loop(const unsigned char* c, const char* av, const char* bv, char* yv, i64 n) {
    const T* __restrict a = reinterpret_cast<const T*>(av);
    const T* __restrict b = reinterpret_cast<const T*>(bv);
    T* __restrict y = reinterpret_cast<T*>(yv);
    for (i64 i = 0; i < n; ++i) y[i] = c[i] ? a[i] : b[i];
}
struct Bytes16 { std::uint64_t lo, hi; };  // complex128

template <class T>
void moves(Table& t, int k) {
    t.gather[k] = &gather_loop<T>;
    t.fill[k] = &fill_loop<T>;
    t.select[k] = &select_loop<T>;
}

// Whole lines go to memory past the caches: a plain store would first read from memory what it writes over.
void stream(const char* src, char* dst, i64 bytes) {
#if defined(__SSE2__)
    const i64 head = -reinterpret_cast<std::intptr_t>(dst) & 63;
    if (bytes >= head + 64) {
        std::memcpy(dst, src, head);
        src += head, dst += head, bytes -= head;
        for (; bytes >= 64; src += 64, dst += 64, bytes -= 64) {
#if defined(__AVX512F__)
            _mm512_stream_si512(reinterpret_cast<__m512i*>(dst), _mm512_loadu_si512(src));
#else
            for (int at = 0; at < 64; at += 16)
                _mm_stream_si128(reinterpret_cast<__m128i*>(dst + at), _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + at)));
#endif
        }
    }
#endif
    std::memcpy(dst, src, bytes);
}

}  // namespace

void fill_casts(Table& t) {
    t.stream = &stream;
    casts_from<BOOL>(t); casts_from<I8>(t); casts_from<I16>(t); casts_from<I32>(t); casts_from<I64>(t);
    casts_from<U8>(t); casts_from<U16>(t); casts_from<U32>(t); casts_from<U64>(t);
    casts_from<F32>(t); casts_from<F64>(t);
    t.cast[F16][BF16] = &via_loop<float, &f16_to_f32, &f32_to_bf16, 2, 2>;
    t.cast[BF16][F16] = &via_loop<float, &bf16_to_f32, &f32_to_f16, 2, 2>;
    t.cast[F16][F16] = t.cast[BF16][BF16] = t.cast[U16][U16];
    moves<std::uint8_t>(t, 0); moves<std::uint16_t>(t, 1); moves<std::uint32_t>(t, 2);
    moves<std::uint64_t>(t, 3); moves<Bytes16>(t, 4);
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
