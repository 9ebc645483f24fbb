// Matrix products: what one instruction set offers (a block of the product on one thread), and the drivers that
// cut products of any rank, layout and size into such blocks.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

struct Finish;  // convolution.hpp

// c (m, n) = init + a (m, k) @ b (k, n), on one thread. Strides count elements. `init` holds values of c's type:
// rows `init_rs` apart (0: one row for all, which is a bias), or null for zero. c is row-major and may be `init`.
struct GemmBlock {
    i64 m, n, k;
    const char* a;
    i64 a_rs, a_cs;
    const char* b;
    i64 b_rs, b_cs;
    char* c;
    i64 c_rs;
    const char* init;
    i64 init_rs;
    const char* packed_b;  // all of b as `pack_b` lays it out, or null
    char* scratch;         // `scratch_bytes` of memory where a is packed
    const Finish* finish;  // of float32: what becomes of c, or null
};

// The products of one input dtype. They are added up in `acc`, the dtype of c.
struct GemmKernel {
    int in, acc;
    i64 rows, columns;  // of the register tile: lengths of slices are multiples of them where that is free
    void (*block)(const GemmBlock& g);
    // The columns [first, last) of b, `first` a multiple of `columns`, into their places in the packed whole.
    void (*pack_b)(const GemmBlock& g, i64 first, i64 last, char* packed);
    i64 (*packed_bytes)(i64 k, i64 n);
    // c[i * c_rs + j * c_cs] = init[j * init_cs] + the product of rows i of a and j of b: both run along k with
    // stride one. Few rows of a (up to 4), any number of b. Null where the dtype has none.
    void (*dots)(i64 m, i64 n, i64 k, const char* a, i64 a_rs, const char* b, i64 b_rs, char* c, i64 c_rs, i64 c_cs,
                 const char* init, i64 init_rs, i64 init_cs);
    // c (m, n) = init + a (m, k) @ b (k, n) for m up to 4 and rows of b with stride one. Null where the dtype has none.
    void (*axpys)(i64 m, i64 n, i64 k, const char* a, i64 a_rs, i64 a_cs, const char* b, i64 b_rs, char* c, i64 c_rs,
                  const char* init, i64 init_rs);
    // c (m, n), dense, = init (n) + a (m, k) @ b (k, n), k up to 256 or b_cs one, without a look at what pays. Null where
    // the dtype has none.
    void (*small)(i64 m, i64 n, i64 k, const char* a, i64 a_rs, i64 a_cs, const char* b, i64 b_rs, i64 b_cs, char* c,
                  const char* init);
};
inline constexpr i64 GEMM_SCRATCH = 528 * 1024;  // bytes

struct GemmTable {
    const GemmKernel* of[N_REAL];
};

// out (..., M, N) = a (..., M, K) @ b (..., K, N) [+ bias (N)]. a, b and bias have one dtype; batch axes are broadcast
// with stride 0, any strides will do. out is C-contiguous and has that dtype, or int32 for int8. `finish` (of float32 and
// one product) is applied to a piece of the result while it is in the cache.
Status run_matmul(const View& a, const View& b, const View* bias, const View& out, const Finish* finish = nullptr);

// The same for two matrices (m, k) and (k, n) of one dtype and a dense bias or null, with strides in bytes, if they are so
// small that finding out more about them would take longer; false if not.
bool run_small_matmul(int dtype, i64 m, i64 n, i64 k, const char* a, i64 a_rs, i64 a_cs, const char* b, i64 b_rs, i64 b_cs,
                      const char* bias, char* out);

}  // namespace mlcore_cpu
