// 1x1 convolutions of channels-last memory: one product of matrices, (pixels, C) @ (C, O).
#pragma once
#include "convolution.hpp"

namespace mlcore_cpu {

// Whether the functions below serve it; all memory is channels-last then, float32.
bool pointwise_serves(const ConvShape& s, int dtype);
Status pointwise_forward(const ConvShape& s, const char* x, const char* w, const char* bias, char* y, const Finish* finish);
Status pointwise_grad_input(const ConvShape& s, const char* g, const char* w, char* gx);
Status pointwise_grad_weight(const ConvShape& s, const char* g, const char* x, char* gw);

}  // namespace mlcore_cpu
