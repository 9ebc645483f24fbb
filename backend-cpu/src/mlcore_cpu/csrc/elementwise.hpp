// Drivers that bring strided, broadcast and 16-bit operands to the contiguous loops of the tables.
#pragma once
#include "tables.hpp"

namespace mlcore_cpu {

inline constexpr i64 INLINE_BELOW = 16 * 1024;  // elements; smaller work stays on the calling thread

// out is dense memory whose axes are ordered by stride (any order); inputs have out's shape, with stride 0
// where they broadcast. A loop works on dtype `work`; operands and results of another dtype are converted.
Status run_unary(UnaryLoop loop, int work_in, int work_out, const View& x, const View& out);
Status run_binary(BinaryLoop loop, int work_in, int work_out, const View& a, const View& b, const View& out);
Status run_where(const View& condition, const View& a, const View& b, const View& out);

// out[...] = x[...] with conversion; out may be any strided memory without overlap.
Status run_copy(const View& x, const View& out);

}  // namespace mlcore_cpu
