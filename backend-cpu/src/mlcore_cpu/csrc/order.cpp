// Sorting by unsigned keys that have the order of the values, and running sums; rows are tasks.
#include "order.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <type_traits>

#include "alloc.hpp"
#include "drivers.hpp"

namespace mlcore_cpu {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

// An unsigned number in the order of the values: zeros are equal, nan is the largest.
template <class T>
auto key_of(T x) {
    if constexpr (std::is_same_v<T, float>) {
        if (x != x) return ~u32{0};
        const float plain = x + 0.0f;  // -0 becomes 0
        u32 bits;
        std::memcpy(&bits, &plain, 4);
        return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    } else if constexpr (std::is_same_v<T, double>) {
        if (x != x) return ~u64{0};
        const double plain = x + 0.0;
        u64 bits;
        std::memcpy(&bits, &plain, 8);
        return bits >> 63 ? ~bits : bits | (u64{1} << 63);
    } else if constexpr (sizeof(T) == 8) {
        return std::is_signed_v<T> ? static_cast<u64>(x) ^ (u64{1} << 63) : static_cast<u64>(x);
    } else {
        return std::is_signed_v<T> ? static_cast<u32>(static_cast<std::int32_t>(x)) ^ 0x80000000u : static_cast<u32>(x);
    }
}

// Key and place in one number: comparing those keeps equal keys in order.
constexpr int DIGIT = 11, DIGITS = 1 << DIGIT;
constexpr i64 RADIX_FROM = 512;  // below it comparing is faster than counting

void radix_sort(u64* a, u64* other, i64 n) {  // by the upper 32 bits; places are in order already
    for (int shift = 32; shift < 64; shift += DIGIT) {
        u32 counts[DIGITS] = {};
        for (i64 i = 0; i < n; ++i) ++counts[a[i] >> shift & (DIGITS - 1)];
        u32 total = 0;
        for (u32& one : counts) {
            const u32 here = one;
            one = total;
            total += here;
        }
        for (i64 i = 0; i < n; ++i) other[counts[a[i] >> shift & (DIGITS - 1)]++] = a[i];
        std::swap(a, other);
    }
    std::memcpy(other, a, static_cast<std::size_t>(n) * sizeof(u64));  // three passes end in the other memory
}

struct Pair {
    u64 key;
    i64 place;
    bool operator<(const Pair& other) const { return key != other.key ? key < other.key : place < other.place; }
};

// The first `count` of n in order, the others anywhere.
template <class P>
void first_in_order(P* a, i64 n, i64 count) {
    if (count < n) std::nth_element(a, a + count, a + n);
    std::sort(a, a + count);
}

// The first few of many in order: most elements are only compared with the last of those found so far.
constexpr i64 FEW = 64;
template <class T>
void few_in_order(const T* x, i64 n, i64 count, bool descending, u64* kept) {
    constexpr i64 TOGETHER = 16;
    const u32 flip = descending ? ~u32{0} : 0;
    const auto keyed = [&](i64 i) { return static_cast<u64>(key_of(x[i]) ^ flip) << 32 | static_cast<u64>(i); };
    for (i64 i = 0; i < count; ++i) kept[i] = keyed(i);
    std::sort(kept, kept + count);
    T last = x[kept[count - 1] & 0xffffffffu];
    for (i64 start = count; start < n; start += TOGETHER) {
        const i64 stop = std::min(n, start + TOGETHER);
        int some = 0;  // nan may pass here: the keys below know its place
        if (stop - start == TOGETHER) {
            if (descending) for (i64 i = 0; i < TOGETHER; ++i) some |= !(x[start + i] <= last);
            else for (i64 i = 0; i < TOGETHER; ++i) some |= !(x[start + i] >= last);
            if (!some) continue;
        }
        for (i64 i = start; i < stop; ++i) {
            if (descending ? x[i] <= last : x[i] >= last) continue;
            const u64 one = keyed(i);
            if (one >= kept[count - 1]) continue;  // of equal ones the earlier is there already
            i64 at = count - 1;
            for (; at > 0 && kept[at - 1] > one; --at) kept[at] = kept[at - 1];
            kept[at] = one;
            last = x[kept[count - 1] & 0xffffffffu];
        }
    }
}

template <class T>
void order_row(const T* x, i64 n, i64 count, bool descending, i64* indices, T* values, void* scratch) {
    if constexpr (sizeof(T) <= 4) {
        u64* a = static_cast<u64*>(scratch);
        if (count > 0 && count <= FEW && count * 8 <= n) {
            few_in_order(x, n, count, descending, a);
        } else {
            for (i64 i = 0; i < n; ++i) a[i] = static_cast<u64>(descending ? ~key_of(x[i]) : key_of(x[i])) << 32 | static_cast<u64>(i);
            if (n >= RADIX_FROM && count * 4 > n) radix_sort(a, a + n, n);
            else first_in_order(a, n, count);
        }
        for (i64 i = 0; i < count; ++i) indices[i] = static_cast<i64>(a[i] & 0xffffffffu);
    } else {
        Pair* a = static_cast<Pair*>(scratch);
        for (i64 i = 0; i < n; ++i) a[i] = {descending ? ~key_of(x[i]) : key_of(x[i]), i};
        first_in_order(a, n, count);
        for (i64 i = 0; i < count; ++i) indices[i] = a[i].place;
    }
    if (values)
        for (i64 i = 0; i < count; ++i) values[i] = x[indices[i]];
}

template <class T>
Status order_rows(const void* x, i64 rows, i64 n, i64 count, bool descending, i64* indices, void* values) {
    std::atomic<bool> failed{false};
    if (n > 0xffffffffll && sizeof(T) <= 4) return UNSUPPORTED;
    const i64 each = std::max<i64>(1, 4096 / std::max<i64>(1, n));
    const auto work = [&](i64 task) {
        Scratch memory(2 * n * static_cast<i64>(sizeof(Pair)));
        if (memory.failed()) {
            failed = true;
            return;
        }
        for (i64 r = task * each; r < std::min(rows, (task + 1) * each); ++r)
            order_row<T>(in<T>(x) + r * n, n, count, descending, indices + r * count, values ? out<T>(values) + r * count : nullptr, memory.get());
    };
    Status status = OK;
    const i64 tasks = ceil_div(rows, each);
    if (rows * n < 2048) for (i64 t = 0; t < tasks; ++t) work(t);
    else status = parallel_for(tasks, work);
    return failed ? NO_MEMORY : status;
}

template <class T, bool PRODUCT>
void scan_rows(const T* x, T* y, i64 rows, i64 n) {
    constexpr int TOGETHER = 8;  // sums that do not wait for each other
    for (i64 r = 0; r < rows; r += TOGETHER, x += TOGETHER * n, y += TOGETHER * n) {
        double total[TOGETHER];
        for (double& one : total) one = PRODUCT ? 1.0 : 0.0;
        const int m = static_cast<int>(std::min<i64>(TOGETHER, rows - r));
        if (m == TOGETHER) {
            for (i64 i = 0; i < n; ++i)
                for (int k = 0; k < TOGETHER; ++k) {
                    total[k] = PRODUCT ? total[k] * static_cast<double>(x[k * n + i]) : total[k] + static_cast<double>(x[k * n + i]);
                    y[k * n + i] = static_cast<T>(total[k]);
                }
        } else {
            for (int k = 0; k < m; ++k)
                for (i64 i = 0; i < n; ++i) {
                    total[k] = PRODUCT ? total[k] * static_cast<double>(x[k * n + i]) : total[k] + static_cast<double>(x[k * n + i]);
                    y[k * n + i] = static_cast<T>(total[k]);
                }
        }
    }
}

template <class T, bool PRODUCT>
void scan_columns(const T* x, T* y, i64 n, i64 inner, i64 first, i64 width) {
    double total[512];
    for (i64 j = 0; j < width; ++j) total[j] = PRODUCT ? 1.0 : 0.0;
    for (i64 i = 0; i < n; ++i) {
        const T* __restrict a = x + i * inner + first;
        T* __restrict b = y + i * inner + first;
        for (i64 j = 0; j < width; ++j) {
            total[j] = PRODUCT ? total[j] * static_cast<double>(a[j]) : total[j] + static_cast<double>(a[j]);
            b[j] = static_cast<T>(total[j]);
        }
    }
}

template <class T, bool PRODUCT>
Status scan(const T* x, T* y, i64 outer, i64 n, i64 inner) {
    if (inner == 1) return ranges(ceil_div(outer, 8), 8 * n, [&](i64 group, i64 count) {
        const i64 r = group * 8;
        scan_rows<T, PRODUCT>(x + r * n, y + r * n, std::min(outer - r, count * 8), n);
    });
    const i64 strips = ceil_div(inner, 512);
    return ranges(outer * strips, n * std::min<i64>(inner, 512), [&](i64 task, i64 count) {
        for (; count > 0; ++task, --count) {
            const i64 o = task / strips * n * inner, first = task % strips * 512;
            scan_columns<T, PRODUCT>(x + o, y + o, n, inner, first, std::min<i64>(512, inner - first));
        }
    });
}

}  // namespace

Status run_order(int dtype, const void* x, i64 rows, i64 n, i64 count, bool descending, i64* indices, void* values) {
    switch (dtype) {
        case BOOL: case U8: return order_rows<std::uint8_t>(x, rows, n, count, descending, indices, values);
        case I8: return order_rows<std::int8_t>(x, rows, n, count, descending, indices, values);
        case I16: return order_rows<std::int16_t>(x, rows, n, count, descending, indices, values);
        case U16: return order_rows<std::uint16_t>(x, rows, n, count, descending, indices, values);
        case I32: return order_rows<std::int32_t>(x, rows, n, count, descending, indices, values);
        case U32: return order_rows<std::uint32_t>(x, rows, n, count, descending, indices, values);
        case I64: return order_rows<std::int64_t>(x, rows, n, count, descending, indices, values);
        case U64: return order_rows<std::uint64_t>(x, rows, n, count, descending, indices, values);
        case F32: return order_rows<float>(x, rows, n, count, descending, indices, values);
        case F64: return order_rows<double>(x, rows, n, count, descending, indices, values);
        default: return UNSUPPORTED;
    }
}

Status run_scan(int dtype, const void* x, void* y, i64 outer, i64 n, i64 inner, bool product) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        return product ? scan<T, true>(in<T>(x), out<T>(y), outer, n, inner) : scan<T, false>(in<T>(x), out<T>(y), outer, n, inner);
    });
}

}  // namespace mlcore_cpu
