// What drivers of typed kernels share: float or double, pointers of it, ranges as tasks by shape only.
#pragma once
#include <algorithm>
#include <vector>

#include "elementwise.hpp"
#include "pool.hpp"

namespace mlcore_cpu {

inline constexpr i64 GRAIN = 16 * 1024;  // elements per task

// Calls f with a value of the C++ type of dtype: auto in f's argument is float or double.
template <class F>
Status typed(int dtype, F&& f) {
    return dtype == F32 ? f(float{}) : f(double{});
}
// The same of any real dtype but the 16-bit floats; bools are bytes.
template <class F>
Status of_dtype(int dtype, F&& f) {
    switch (dtype) {
        case BOOL: case U8: return f(std::uint8_t{});
        case I8: return f(std::int8_t{});
        case I16: return f(std::int16_t{});
        case U16: return f(std::uint16_t{});
        case I32: return f(std::int32_t{});
        case U32: return f(std::uint32_t{});
        case I64: return f(std::int64_t{});
        case U64: return f(std::uint64_t{});
        case F32: return f(float{});
        case F64: return f(double{});
        default: return UNSUPPORTED;
    }
}
template <class T> const T* in(const void* p) { return static_cast<const T*>(p); }
template <class T> T* out(void* p) { return static_cast<T*>(p); }

// f(first, count) over [0, total) in tasks of about GRAIN elements; small work inline.
template <class F>
Status ranges(i64 total, i64 cost, F&& f) {
    if (total <= 0) return OK;
    const i64 each = std::max<i64>(1, GRAIN / std::max<i64>(1, cost));
    if (total * cost < INLINE_BELOW) {
        f(0, total);
        return OK;
    }
    return parallel_for(ceil_div(total, each), [&](i64 task) { f(task * each, std::min(each, total - task * each)); });
}

// f(array, first, count) over all arrays of a step as one list of ranges, so that many small parameters share tasks.
// `n` of an array says how many elements it has. May throw std::bad_alloc.
template <class Array, class F>
Status over_arrays(const Array* arrays, i64 count, F&& f) {
    i64 total = 0;
    std::vector<i64> start(static_cast<std::size_t>(count) + 1, 0);
    for (i64 i = 0; i < count; ++i) start[static_cast<std::size_t>(i) + 1] = total += arrays[i].n;
    return ranges(total, 1, [&](i64 first, i64 n) {
        auto at = std::upper_bound(start.begin(), start.end(), first) - start.begin() - 1;
        while (n > 0) {
            const i64 offset = first - start[static_cast<std::size_t>(at)];
            const i64 here = std::min(n, arrays[at].n - offset);
            if (here > 0) f(arrays[at], offset, here);
            first += here;
            n -= here;
            ++at;
        }
    });
}

}  // namespace mlcore_cpu
