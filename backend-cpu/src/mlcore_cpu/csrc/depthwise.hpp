// Depthwise convolutions (a kernel for each channel) of channels-last memory, float32.
#pragma once
#include "convolution.hpp"

namespace mlcore_cpu {

// A row of results: `count` of them, y_step elements apart, each over all channels. `rows` of the input meet it, with
// weights (taps, channels) each; tap t of result j reads column first + j * step + t * dilation, if there is one.
struct DepthwiseRow {
    i64 channels, count, n_rows, taps;
    const float* const* rows;
    const float* const* weights;
    i64 first, step, dilation, width;
    float* y;
    i64 y_step;
    const Finish* finish;  // or null
};
// For one row of the gradient and one row of the input: sums (taps, channels) += g[j] * x[first + j * step + t * dilation]
struct DepthwiseSums {
    i64 channels, count, taps;
    const float *g, *x;
    i64 first, step, dilation, width;
    float* sums;
};
struct DepthwiseTable {
    void (*row)(const DepthwiseRow& r);
    void (*sums)(const DepthwiseSums& s);
};

// Whether the functions below serve it; all memory is channels-last then.
bool depthwise_serves(const ConvShape& s, int dtype);
Status depthwise_forward(const ConvShape& s, const char* x, const char* w, const char* bias, char* y, const Finish* finish);
Status depthwise_grad_input(const ConvShape& s, const char* g, const char* w, char* gx);
Status depthwise_grad_weight(const ConvShape& s, const char* g, const char* x, char* gw);

}  // namespace mlcore_cpu
