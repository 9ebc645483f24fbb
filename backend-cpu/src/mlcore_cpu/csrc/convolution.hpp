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

// Results are channels-last and dense; weights, bias plain and dense (O, C/groups, *K).
Status dnn_conv_forward(const ConvShape& s, int dtype, Activation x, const char* w, const char* bias, char* y);
Status dnn_conv_grad_input(const ConvShape& s, int dtype, Activation g, const char* w, char* gx);
// gw is always float32 (bfloat16 gradients accumulate there)
Status dnn_conv_grad_weight(const ConvShape& s, int dtype, Activation g, Activation x, float* gw);

}  // namespace mlcore_cpu
