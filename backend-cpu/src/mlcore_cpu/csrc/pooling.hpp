// Pooling over up to three spatial dimensions. Work is float or double; 16-bit floats are converted by the caller.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

struct PoolShape {  // memory (outer, in[0], in[1], in[2], inner); channels-last has inner = C, planes have inner = 1
    i64 outer, inner;
    i64 in[3], out[3], kernel[3], stride[3], dilation[3], pad_lo[3];
    bool include_pad;
};

template <class T>
struct PoolLoops {
    void (*max_pool)(const T* x, T* y, const PoolShape& s, i64 plane, i64 first, i64 width);
    void (*max_pool_grad)(const T* g, const T* x, T* gx, const PoolShape& s, i64 plane, i64 first, i64 width);
    void (*avg_pool)(const T* x, T* y, const PoolShape& s, i64 plane, i64 first, i64 width);
    void (*avg_pool_grad)(const T* g, T* gx, const PoolShape& s, i64 plane, i64 first, i64 width);
};
struct PoolTable {
    PoolLoops<float> f32;
    PoolLoops<double> f64;
};

// Drivers. `dtype` is F32 or F64; pointers are to that type.
enum class PoolOp { max, average };
Status run_pool(PoolOp op, int dtype, const PoolShape& s, const void* x, void* y);
Status run_pool_grad(PoolOp op, int dtype, const PoolShape& s, const void* g, const void* x, void* gx);

}  // namespace mlcore_cpu
