// Reading and writing by index. Memory is dense: (outer, size, inner) is indexed along its middle axis. Repeated
// indices count in their order, whatever the number of threads.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

// OK where all n indices are in [0, size), else OUT_OF_RANGE.
Status run_check_indices(const i64* indices, i64 n, i64 size);

// x (outer, size, inner bytes) -> y (outer, count, inner bytes): slices at indices
Status run_gather(const char* x, const i64* indices, char* y, i64 outer, i64 size, i64 count, i64 inner_bytes);
// y (outer, size, inner) = x, or zeros where x is null, + values (outer, count, inner) at indices. x may be y. Real
// dtypes but for 16-bit floats and BOOL.
Status run_index_add(int dtype, const void* x, void* y, const i64* indices, const void* values, i64 outer, i64 size, i64 count, i64 inner);
// y = x (which may be y) but for the slices at indices, which are those of values; of repeated indices the last wins
Status run_scatter(const char* x, char* y, const i64* indices, const char* values, i64 outer, i64 size, i64 count, i64 inner_bytes);

// An index for each element, which may count from the end; OUT_OF_RANGE where one is not in [-size, size).
// y[o, j, i] = x[o, at[o, j, i], i] for items of 1, 2, 4, 8 or 16 bytes
Status run_take_along(int itemsize, const void* x, const i64* at, void* y, i64 outer, i64 size, i64 count, i64 inner);
// y (outer, size, inner) = zeros, y[o, at[o, j, i], i] += values[o, j, i]; dtypes as of run_index_add
Status run_sum_along(int dtype, const void* values, const i64* at, void* y, i64 outer, i64 size, i64 count, i64 inner);

// How many of the bytes are not 0 in each stretch of TRUE_STRETCH of them, and their coordinates in row-major order:
// out[d][k] is that of the k-th along axis d; `before` says how many lie before each stretch.
inline constexpr i64 TRUE_STRETCH = 64 * 1024;
Status run_count_true(const unsigned char* x, i64 n, i64* counts);
Status run_where_true(const unsigned char* x, i64 n, int ndim, const i64* shape, const i64* before, i64* const* out);

// What a stretch of indices of an axis is like: all in [0, size), some in [-size, 0), or some in neither.
enum class IndexKind { plain, from_the_end, outside };

// Loops over a line with plain indices; `next` is how far on the next line lies, to be fetched meanwhile, or 0.
struct IndexTable {
    IndexKind (*kind)(const i64* at, i64 n, i64 size);
    // y[i] = x[at[i]], by log2(itemsize); `stream`: y is not to stay in the caches
    void (*take[5])(const void* x, const i64* at, void* y, i64 n, i64 next, bool stream);
    void (*add_f32)(float* y, const i64* at, const float* x, i64 n, i64 next);  // y[at[i]] += x[i]
    void (*add_f64)(double* y, const i64* at, const double* x, i64 n, i64 next);
};

}  // namespace mlcore_cpu
