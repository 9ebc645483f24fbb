// Loops of indexing by an index for each element. Loads by vector instructions are no faster than plain ones; what
// counts is that the next line is on its way, and that large results pass by the caches.
#include "../indexing.hpp"
#include "isa_tables.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

constexpr i64 AHEAD = 1024;  // indices

IndexKind kind(const i64* __restrict at, i64 n, i64 size) {
    i64 negative = 0, outside = 0;  // by their signs
    for (i64 i = 0; i < n; ++i) {
        negative |= at[i];
        outside |= (size - 1 - at[i]) | (at[i] + size);
    }
    return outside < 0 ? IndexKind::outside : negative < 0 ? IndexKind::from_the_end : IndexKind::plain;
}

// One cache line, past the caches.
INL void stream_line(const void* from, void* to) {
#if defined(__AVX512F__)
    _mm512_stream_si512(static_cast<__m512i*>(to), _mm512_loadu_si512(from));
#elif defined(__x86_64__)
    for (int k = 0; k < 4; ++k) _mm_stream_si128(static_cast<__m128i*>(to) + k, _mm_loadu_si128(static_cast<const __m128i*>(from) + k));
#else
    std::memcpy(to, from, 64);
#endif
}

template <class T>
void take(const void* x_, const i64* __restrict at, void* y_, i64 n, i64 next, bool stream) {
    constexpr i64 LINE = 64 / static_cast<i64>(sizeof(T));
    const T* __restrict x = static_cast<const T*>(x_);
    T* __restrict y = static_cast<T*>(y_);
    i64 i = 0;
    if (stream) for (; i < n && reinterpret_cast<std::uintptr_t>(y + i) % 64; ++i) y[i] = x[at[i]];
    for (; i + LINE <= n; i += LINE) {
        for (i64 k = 0; k < LINE; k += 8) __builtin_prefetch(at + i + k + AHEAD);
        if (next) __builtin_prefetch(x + next + i);
        alignas(64) T line[LINE];
        for (i64 k = 0; k < LINE; ++k) line[k] = x[at[i + k]];
        if (stream) stream_line(line, y + i);
        else std::memcpy(y + i, line, 64);
    }
    for (; i < n; ++i) y[i] = x[at[i]];
#if defined(__x86_64__)
    if (stream) _mm_sfence();
#endif
}

template <class T>
void add(T* __restrict y, const i64* __restrict at, const T* __restrict x, i64 n, i64 next) {
    i64 i = 0;
    for (; i + 8 <= n; i += 8) {
        __builtin_prefetch(at + i + AHEAD);
        __builtin_prefetch(x + i + AHEAD);
        if (next) __builtin_prefetch(y + next + i, 1);
        for (i64 k = 0; k < 8; ++k) y[at[i + k]] += x[i + k];
    }
    for (; i < n; ++i) y[at[i]] += x[i];
}

struct Sixteen {
    std::uint64_t half[2];
};

}  // namespace

const IndexTable* index_table() {
    static const IndexTable index{&kind, {&take<std::uint8_t>, &take<std::uint16_t>, &take<std::uint32_t>, &take<std::uint64_t>, &take<Sixteen>},
                                  &add<float>, &add<double>};
    return &index;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
