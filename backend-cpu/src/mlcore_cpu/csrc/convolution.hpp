// Convolutions: one-threaded oneDNN calls on groups of images, run by our pool.
//
// Groups depend on shapes only, and partial results are combined in a fixed order. Every function returns
// UNSUPPORTED where oneDNN has no implementation (or was not built in): the caller has another way.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

struct ConvShape {
    int spatial;  // 1..3
    i64 n, c, o, groups;
    i64 in[3], kernel[3], out[3], stride[3], dilation[3], pad_lo[3], pad_hi[3];
};

// What a convolution reads: dense, channels-last (N, *S, C), or planes (N, C, *S).
struct Activation {
    const char* data;
    bool planes;
};

// What becomes of a float32 result where it is made: `y * scale + shift` by channels (either may be null), then the
// bounds, which nan passes.
struct Finish {
    const float *scale, *shift;
    bool bounded;
    float low, high;
    Finish from(i64 channel) const { return {scale ? scale + channel : nullptr, shift ? shift + channel : nullptr, bounded, low, high}; }
};
// The same as a pass of its own over `rows` pixels of c channels.
Status run_finish(const Finish& f, float* y, i64 rows, i64 c);
// What batch norm by given statistics, behind a convolution with a bias, comes to; all but mean and var may be null.
void fold_norm(const float* bias, const float* mean, const float* var, const float* gain, const float* offset, i64 c, double eps,
               float* scale, float* shift);

// A 1x1 convolution is one long row of pixels: no image ends anywhere.
inline bool is_pointwise(const ConvShape& s) {
    for (int d = 0; d < s.spatial; ++d)
        if (s.kernel[d] != 1 || s.stride[d] != 1 || s.pad_lo[d] || s.pad_hi[d]) return false;
    return true;
}

// Results are channels-last and dense; weights, bias plain and dense (O, C/groups, *K).
Status dnn_conv_forward(const ConvShape& s, int dtype, Activation x, const char* w, const char* bias, char* y, const Finish* finish);
Status dnn_conv_grad_input(const ConvShape& s, int dtype, Activation g, const char* w, char* gx);
// gw is always float32 (bfloat16 gradients accumulate there)
Status dnn_conv_grad_weight(const ConvShape& s, int dtype, Activation g, Activation x, float* gw);

}  // namespace mlcore_cpu
