// Matrix products: one-threaded oneDNN calls on slices, run by our pool.
//
// Slices depend on shapes only, and partial results are combined in a fixed order. Every function returns
// UNSUPPORTED where oneDNN has no implementation (or was not built in): the caller has another way.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

bool dnn_available();
const char* dnn_version();

// out (..., M, N) = a (..., M, K) @ b (..., K, N) [+ bias (N)]; float32 or bfloat16, one dtype.
// Batch axes are broadcast with stride 0; of the last two strides of a and b one must be the item size.
// out is C-contiguous; bias is contiguous or null.
Status dnn_matmul(const View& a, const View& b, const char* bias, const View& out);

}  // namespace mlcore_cpu
