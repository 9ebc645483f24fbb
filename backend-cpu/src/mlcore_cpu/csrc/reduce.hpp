// Reductions over any axes of any layout, bit-identical for every number of threads.
#pragma once
#include "tables.hpp"

namespace mlcore_cpu {

// out: C-ordered memory over the kept axes, of out_dtype. The result is divided by `divisor` (mean).
Status run_reduce(const ReduceEntry& entry, const View& x, const bool* reduced, char* out, int out_dtype, double divisor);

// out: C-ordered int64 over the kept axes; 16-bit floats are compared as float32.
Status run_arg(const ArgEntry& entry, const View& x, int axis, i64* out);

}  // namespace mlcore_cpu
