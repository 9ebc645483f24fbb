// Orders and running sums along the last dimension: rows of `n` values, dense.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

// The stable order of each row (nan last when ascending, first when descending), of which the first `count` places are
// wanted: their indices (rows, count), and where `values` is not null the elements themselves. BOOL to F64 but for
// 16-bit floats, which the caller widens.
Status run_order(int dtype, const void* x, i64 rows, i64 n, i64 count, bool descending, i64* indices, void* values);

// Where each of `count` wanted elements would go in x, which is in order: before its equals, or behind them.
Status run_search(int dtype, const void* x, i64 n, const void* wanted, i64 count, bool right, i64* y);

// y = running sums (or products) over memory (outer, n, inner); floats are added up in double, integers wrap.
Status run_scan(int dtype, const void* x, void* y, i64 outer, i64 n, i64 inner, bool product);

}  // namespace mlcore_cpu
