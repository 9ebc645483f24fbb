// Sorting by unsigned keys that have the order of the values; rows are tasks, or blocks of one long row.
#include "order.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <limits>
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

// An element to be sorted: its key, and its place, which decides between equal keys.
struct Packed {  // both in one number: keys of 32 bits, places below 2^32
    u64 both;
    Packed() = default;
    Packed(u32 key, i64 place) : both(u64{key} << 32 | static_cast<u64>(place)) {}
    u64 bits() const { return both >> 32; }
    i64 place() const { return static_cast<i64>(both & 0xffffffffu); }
    bool operator<(const Packed& other) const { return both < other.both; }
};
struct Pair {
    u64 key;
    i64 at;
    Pair() = default;
    Pair(u64 key, i64 place) : key(key), at(place) {}
    u64 bits() const { return key; }
    i64 place() const { return at; }
    bool operator<(const Pair& other) const { return key != other.key ? key < other.key : at < other.at; }
};

template <class P, class T>
P element(T x, bool descending, i64 place) {
    const auto key = key_of(x);
    return P(descending ? static_cast<decltype(key)>(~key) : key, place);
}

constexpr int DIGIT = 11, DIGITS = 1 << DIGIT;
template <class T> constexpr int KEY_BITS = sizeof(T) == 8 ? 64 : 32;
template <class T> constexpr i64 RADIX_FROM = sizeof(T) == 8 ? 2048 : 512;  // below it comparing is faster than counting
template <class P> int digit_of(const P& one, int shift) { return static_cast<int>(one.bits() >> shift & (DIGITS - 1)); }

// By keys of so many bits; places are in order already, and equal keys stay as they are.
template <class P>
void radix_sort(P* a, P* other, i64 n, int bits) {
    P* const wanted = a;
    for (int shift = 0; shift < bits; shift += DIGIT) {
        u32 counts[DIGITS] = {};
        for (i64 i = 0; i < n; ++i) ++counts[digit_of(a[i], shift)];
        if (counts[digit_of(a[0], shift)] == n) continue;  // one digit for all
        u32 total = 0;
        for (u32& one : counts) {
            const u32 here = one;
            one = total;
            total += here;
        }
        for (i64 i = 0; i < n; ++i) other[counts[digit_of(a[i], shift)]++] = a[i];
        std::swap(a, other);
    }
    if (a != wanted) std::memcpy(wanted, a, static_cast<std::size_t>(n) * sizeof(P));
}

// The first `count` of n in order, the others anywhere.
template <class P>
void first_in_order(P* a, i64 n, i64 count) {
    if (count < n) std::nth_element(a, a + count, a + n);
    std::sort(a, a + count);
}

// The `count`th best of LANES numbers.
template <bool DESCENDING, int LANES, class T>
T nth_best(T* best, i64 count) {
    if constexpr (LANES > 32) {
        if (DESCENDING) std::nth_element(best, best + count - 1, best + LANES, std::greater<T>());
        else std::nth_element(best, best + count - 1, best + LANES);
        return best[count - 1];
    } else {  // by counting the better ones: no branches
        T found = best[0];
        bool any = false;
        for (int j = 0; j < LANES; ++j) {
            int better = 0;
            for (int k = 0; k < LANES; ++k) better += DESCENDING ? best[k] > best[j] : best[k] < best[j];
            const bool worse = !any || (DESCENDING ? best[j] < found : best[j] > found);
            if (better < count && worse) found = best[j], any = true;
        }
        return found;
    }
}

// The first few of many in order. Each of LANES lanes has an element as good as its best, so what is worse than the
// `count`th of those bests cannot be among the first `count`. The few others are sorted in, a handful at a time.
constexpr i64 FEW = 64;
template <bool DESCENDING, int LANES, class T, class P>
void few_in_order(const T* x, i64 n, i64 count, P* kept, i64 place) {
    constexpr int TOGETHER = 16, ROOM = 4 * TOGETHER;
    using Limits = std::numeric_limits<T>;
    T best[LANES];  // without nan
    for (T& one : best) one = DESCENDING ? (Limits::has_infinity ? -Limits::infinity() : Limits::lowest()) : (Limits::has_infinity ? Limits::infinity() : Limits::max());
    for (i64 i = 0; i + LANES <= n; i += LANES) {
        const T* __restrict row = x + i;
        for (int j = 0; j < LANES; ++j) best[j] = (DESCENDING ? row[j] > best[j] : row[j] < best[j]) ? row[j] : best[j];
    }
    const T bound = nth_best<DESCENDING, LANES>(best, count);
    i64 waiting[ROOM], found = 0;
    int n_waiting = 0;
    const auto sort_in = [&] {
        for (int w = 0; w < n_waiting; ++w) {
            const P one = element<P>(x[waiting[w]], DESCENDING, place + waiting[w]);
            if (found == count && !(one < kept[count - 1])) continue;
            i64 at = found < count ? found++ : count - 1;
            for (; at > 0 && one < kept[at - 1]; --at) kept[at] = kept[at - 1];
            kept[at] = one;
        }
        n_waiting = 0;
    };
    for (i64 i = 0; i < n; i += TOGETHER) {
        const int m = static_cast<int>(std::min<i64>(TOGETHER, n - i));
        if (m == TOGETHER) {
            int some = 0;  // nan passes: the keys know its place
            for (int j = 0; j < TOGETHER; ++j) some |= DESCENDING ? !(x[i + j] < bound) : !(x[i + j] > bound);
            if (!some) continue;
        }
        for (int j = 0; j < m; ++j) {
            waiting[n_waiting] = i + j;
            n_waiting += DESCENDING ? !(x[i + j] < bound) : !(x[i + j] > bound);
        }
        if (n_waiting > ROOM - TOGETHER) sort_in();
    }
    sort_in();
}
template <class T, class P>
void few_in_order(const T* x, i64 n, i64 count, bool descending, P* kept, i64 place) {
    if (count <= 16) (descending ? few_in_order<true, 32, T, P> : few_in_order<false, 32, T, P>)(x, n, count, kept, place);
    else (descending ? few_in_order<true, 128, T, P> : few_in_order<false, 128, T, P>)(x, n, count, kept, place);
}
inline bool is_few(i64 count, i64 n) { return count > 0 && count <= FEW && count * 8 <= n; }

template <class T, class P>
void order_row(const T* x, i64 n, i64 count, bool descending, i64* indices, T* values, P* a) {
    if (is_few(count, n)) {
        few_in_order(x, n, count, descending, a, 0);
    } else {
        for (i64 i = 0; i < n; ++i) a[i] = element<P>(x[i], descending, i);
        if (n >= RADIX_FROM<T> && count * 4 > n) radix_sort(a, a + n, n, KEY_BITS<T>);
        else first_in_order(a, n, count);
    }
    for (i64 i = 0; i < count; ++i) indices[i] = a[i].place();
    if (values)
        for (i64 i = 0; i < count; ++i) values[i] = x[indices[i]];
}

// ---- rows too long for one task: all threads on one row, in blocks ----------------------------------------------

constexpr i64 LONG = i64{1} << 16, VERY_LONG = i64{1} << 20;  // the first where there are few rows
bool is_long(i64 rows, i64 n) { return n >= VERY_LONG || (n >= LONG && rows < 8); }
i64 block_of(i64 n) { return std::clamp<i64>(ceil_div(n, 32), 8 * 1024, VERY_LONG); }

// radix_sort by all threads: each block counts its digits, which says where it may put its elements.
template <class P>
Status radix_sort_blocks(P* a, P* other, i64 n, int bits) {
    const i64 each = block_of(n), blocks = ceil_div(n, each);
    Scratch memory(blocks * DIGITS * static_cast<i64>(sizeof(i64)));
    if (memory.failed()) return NO_MEMORY;
    i64* counts = memory.get<i64>();
    P* const wanted = a;
    for (int shift = 0; shift < bits; shift += DIGIT) {
        Status status = parallel_for(blocks, [&](i64 b) {
            i64* own = counts + b * DIGITS;
            std::fill(own, own + DIGITS, i64{0});
            for (i64 i = b * each; i < std::min(n, (b + 1) * each); ++i) ++own[digit_of(a[i], shift)];
        });
        if (status != OK) return status;
        i64 total = 0, most = 0;
        for (int d = 0; d < DIGITS; ++d) {
            const i64 before = total;
            for (i64 b = 0; b < blocks; ++b) {
                const i64 here = counts[b * DIGITS + d];
                counts[b * DIGITS + d] = total;
                total += here;
            }
            most = std::max(most, total - before);
        }
        if (most == n) continue;
        status = parallel_for(blocks, [&](i64 b) {
            i64* to = counts + b * DIGITS;
            for (i64 i = b * each; i < std::min(n, (b + 1) * each); ++i) other[to[digit_of(a[i], shift)]++] = a[i];
        });
        if (status != OK) return status;
        std::swap(a, other);
    }
    if (a == wanted) return OK;
    return ranges(n, 1, [&](i64 first, i64 m) { std::memcpy(wanted + first, a + first, static_cast<std::size_t>(m) * sizeof(P)); });
}

template <class T, class P>
Status order_long_row(const T* x, i64 n, i64 count, bool descending, i64* indices, T* values) {
    const i64 each = block_of(n), blocks = ceil_div(n, each);
    const i64 kept = count * 8 <= each ? count : each;  // of a block, whose others cannot be among the first `count`
    const i64 m = (blocks - 1) * kept + std::min(kept, n - (blocks - 1) * each);
    Scratch memory((m + std::max(m, kept < each ? blocks * each : 0)) * static_cast<i64>(sizeof(P)));
    if (memory.failed()) return NO_MEMORY;
    P *a = memory.get<P>(), *other = a + m;
    Status status = parallel_for(blocks, [&](i64 b) {
        const i64 first = b * each, size = std::min(each, n - first);
        P *own = kept < each ? other + first : a + first;
        if (is_few(kept, size)) {
            few_in_order(x + first, size, kept, descending, a + b * kept, first);
            return;
        }
        for (i64 i = 0; i < size; ++i) own[i] = element<P>(x[first + i], descending, first + i);
        if (kept == each) return;
        const i64 best = std::min(kept, size);
        first_in_order(own, size, best);
        std::copy(own, own + best, a + b * kept);
    });
    if (status != OK) return status;
    if (m < LONG) first_in_order(a, m, count);
    else status = radix_sort_blocks(a, other, m, KEY_BITS<T>);
    if (status != OK) return status;
    return ranges(count, 1, [&](i64 first, i64 some) {
        for (i64 i = first; i < first + some; ++i) indices[i] = a[i].place();
        if (values) for (i64 i = first; i < first + some; ++i) values[i] = x[indices[i]];
    });
}

template <class T, class P>
Status order_rows(const T* x, i64 rows, i64 n, i64 count, bool descending, i64* indices, T* values) {
    if (is_long(rows, n)) {
        for (i64 r = 0; r < rows; ++r) {
            const Status status = order_long_row<T, P>(x + r * n, n, count, descending, indices + r * count, values ? values + r * count : nullptr);
            if (status != OK) return status;
        }
        return OK;
    }
    std::atomic<bool> failed{false};
    const i64 each = std::max<i64>(1, 4096 / std::max<i64>(1, n)), room = is_few(count, n) ? count : 2 * n;
    const auto work = [&](i64 task) {
        Scratch memory(room * static_cast<i64>(sizeof(P)));
        if (memory.failed()) {
            failed = true;
            return;
        }
        for (i64 r = task * each; r < std::min(rows, (task + 1) * each); ++r)
            order_row(x + r * n, n, count, descending, indices + r * count, values ? values + r * count : nullptr, memory.get<P>());
    };
    Status status = OK;
    const i64 tasks = ceil_div(rows, each);
    if (rows * n < 2048) for (i64 t = 0; t < tasks; ++t) work(t);
    else status = parallel_for(tasks, work);
    return failed ? NO_MEMORY : status;
}

template <class T>
Status order_typed(const void* x, i64 rows, i64 n, i64 count, bool descending, i64* indices, void* values) {
    if constexpr (sizeof(T) <= 4)
        if (n <= 0xffffffffll) return order_rows<T, Packed>(in<T>(x), rows, n, count, descending, indices, out<T>(values));
    return order_rows<T, Pair>(in<T>(x), rows, n, count, descending, indices, out<T>(values));
}

template <class T>
Status search(const T* x, i64 n, const T* wanted, i64 count, bool right, i64* y) {
    const auto less = [](const T& a, const T& b) { return key_of(a) < key_of(b); };
    return ranges(count, 64, [&](i64 first, i64 some) {
        for (i64 i = first; i < first + some; ++i) y[i] = (right ? std::upper_bound(x, x + n, wanted[i], less) : std::lower_bound(x, x + n, wanted[i], less)) - x;
    });
}

}  // namespace

Status run_order(int dtype, const void* x, i64 rows, i64 n, i64 count, bool descending, i64* indices, void* values) {
    return of_dtype(dtype, [&](auto type) { return order_typed<decltype(type)>(x, rows, n, count, descending, indices, values); });
}

Status run_search(int dtype, const void* x, i64 n, const void* wanted, i64 count, bool right, i64* y) {
    return of_dtype(dtype, [&](auto type) {
        using T = decltype(type);
        return search(in<T>(x), n, in<T>(wanted), count, right, y);
    });
}

}  // namespace mlcore_cpu
