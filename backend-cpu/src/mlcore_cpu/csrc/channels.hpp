// Batch norm over memory (outer, c, inner): planes, or channels-last with inner = 1. Work is float or double;
// 16-bit floats are converted by the caller.
#pragma once
#include "convolution.hpp"

namespace mlcore_cpu {

// What follows batch norm in the same pass. RELU6 is relu up to 6.
enum Follow : int { NOTHING = 0, RELU = 1, RELU6 = 2 };

// Of each channel; scale is rstd times the weight, shift the bias (null: zero), from which the result is made again.
template <class T>
struct NormChannels {
    const T *mean, *rstd, *scale, *shift;
    NormChannels from(i64 first) const { return {mean + first, rstd + first, scale + first, shift ? shift + first : nullptr}; }
};

template <class T>
struct ChannelLoops {
    // Channel statistics of memory (outer, c, inner): sum of x, or of (x - mean)^2 when mean is given; added to acc.
    void (*channel_sum)(const T* x, const T* mean, double* acc, i64 outer, i64 c, i64 inner);
    // y = (x - mean) * scale + shift, and what follows
    void (*channel_scale)(const T* x, const T* mean, const T* scale, const T* shift, T* y, i64 outer, i64 c, i64 inner, Follow follow);
    // acc[c] += sum g, acc[C + c] += sum g * (x - mean) * rstd, over the elements whose gradient passes what follows
    void (*channel_grad_sum)(const T* g, const T* x, const NormChannels<T>& n, double* acc, i64 outer, i64 c, i64 inner, i64 all, Follow follow);
    // gb and gw: the sums divided by the count
    void (*channel_grad)(const T* g, const T* x, const NormChannels<T>& n, const T* gb, const T* gw, T* gx, i64 outer, i64 c, i64 inner, Follow follow);
};
struct ChannelTable {
    ChannelLoops<float> f32;
    ChannelLoops<double> f64;
    // `rows` pixels of c channels, `stride` elements apart
    void (*finish)(const Finish& f, float* y, i64 rows, i64 c, i64 stride);
};

// Drivers. `dtype` is F32 or F64; pointers are to that type.
Status run_batch_norm(int dtype, const void* x, const void* w, const void* b, void* y, void* mean, void* rstd, i64 outer, i64 c, i64 inner, double eps, Follow follow);
Status run_batch_norm_grad(int dtype, const void* g, const void* x, const void* w, const void* b, const void* mean, const void* rstd, void* gx, void* gw, void* gb, i64 outer, i64 c, i64 inner, Follow follow);
// y = (x - mean) / sqrt(var + eps) * w + b
Status run_batch_norm_scale(int dtype, const void* x, const void* mean, const void* var, const void* w, const void* b, void* y, i64 outer, i64 c, i64 inner, double eps, Follow follow);
// The running statistics after a batch: `momentum` of its mean and of its variance with Bessel's correction.
void run_batch_norm_running(int dtype, const void* running_mean, const void* running_var, const void* mean, const void* rstd, void* new_mean, void* new_var, i64 c, double momentum, double count, double eps);

}  // namespace mlcore_cpu
