// Gradients of convolutions of huge images, cut into bands of rows that are convolutions of their own.
#pragma once
#include "convolution.hpp"

namespace mlcore_cpu {

// How many bands an image should be cut into, by its shape; up to 1: it is small enough.
i64 bands_of(const ConvShape& s);
Status grad_input_by_bands(const ConvShape& s, int dtype, Activation g, const char* w, char* gx, i64 bands);
Status grad_weight_by_bands(const ConvShape& s, int dtype, Activation g, Activation x, float* gw, i64 bands);

}  // namespace mlcore_cpu
