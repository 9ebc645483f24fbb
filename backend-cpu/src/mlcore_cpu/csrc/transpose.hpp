// Copies between layouts that differ in which of two axes is contiguous: (N, C, S) to (N, S, C) and back, matrices.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

// y[j * ld_y + i] = x[i * ld_x + j] for i < rows, j < columns; in elements of 2^log2 bytes
using TransposeLoop = void (*)(const void* x, i64 ld_x, void* y, i64 ld_y, i64 rows, i64 columns);

// Runs the copy if it is of that kind (out dense, one dtype, large enough to matter): false if it is not.
bool run_transpose(const View& x, const View& out, Status& status);

}  // namespace mlcore_cpu
