// What drivers of typed kernels share: float or double, pointers of it, ranges as tasks by shape only.
#pragma once
#include <algorithm>

#include "elementwise.hpp"
#include "pool.hpp"

namespace mlcore_cpu {

inline constexpr i64 GRAIN = 16 * 1024;  // elements per task

// Calls f with a value of the C++ type of dtype: auto in f's argument is float or double.
template <class F>
Status typed(int dtype, F&& f) {
    return dtype == F32 ? f(float{}) : f(double{});
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

}  // namespace mlcore_cpu
