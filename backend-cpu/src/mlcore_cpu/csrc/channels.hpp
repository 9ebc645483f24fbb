// Batch norm over memory (outer, c, inner): planes, or channels-last with inner = 1. Work is float or double;
// 16-bit floats are converted by the caller.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

template <class T>
struct ChannelLoops {
    // Channel statistics of memory (outer, c, inner): sum of x, or of (x - mean)^2 when mean is given; added to acc.
    void (*channel_sum)(const T* x, const T* mean, double* acc, i64 outer, i64 c, i64 inner);
    void (*channel_scale)(const T* x, const T* mean, const T* scale, const T* shift, T* y, i64 outer, i64 c, i64 inner);
    // acc[c] += sum g, acc[C + c] += sum g * (x - mean) * rstd
    void (*channel_grad_sum)(const T* g, const T* x, const T* mean, const T* rstd, double* acc, i64 outer, i64 c, i64 inner, i64 all);
    void (*channel_grad)(const T* g, const T* x, const T* mean, const T* rstd, const T* scale, const T* gb, const T* gw, T* gx, i64 outer, i64 c, i64 inner);
};
struct ChannelTable {
    ChannelLoops<float> f32;
    ChannelLoops<double> f64;
};

// Drivers. `dtype` is F32 or F64; pointers are to that type.
Status run_batch_norm(int dtype, const void* x, const void* w, const void* b, void* y, void* mean, void* rstd, i64 outer, i64 c, i64 inner, double eps);
Status run_batch_norm_grad(int dtype, const void* g, const void* x, const void* w, const void* mean, const void* rstd, void* gx, void* gw, void* gb, i64 outer, i64 c, i64 inner);
// y = (x - mean) / sqrt(var + eps) * w + b
Status run_batch_norm_scale(int dtype, const void* x, const void* mean, const void* var, const void* w, const void* b, void* y, i64 outer, i64 c, i64 inner, double eps);
// The running statistics after a batch: `momentum` of its mean and of its variance with Bessel's correction.
void run_batch_norm_running(int dtype, const void* running_mean, const void* running_var, const void* mean, const void* rstd, void* new_mean, void* new_var, i64 c, double momentum, double count, double eps);

}  // namespace mlcore_cpu
