// Convolutions with kernels of 3x3 by tiles of 4x4 outputs: a quarter of the multiplications of the direct way
// (Winograd 1980; Lavin and Gray 2015, "Fast algorithms for convolutional neural networks").
#pragma once
#include "convolution.hpp"

namespace mlcore_cpu {

// The transforms of one tile, for `n` channels. Rows of the 36 transformed values are `step` floats apart; the
// channels of a row come in groups of WINOGRAD_GROUP, `group_step` apart. `pixels` has one pointer for each pixel.
struct WinogradTable {
    void (*input)(const float* const* pixels, i64 n, float* to, i64 step, i64 group_step);  // 6x6 pixels
    // 4x4 pixels, at channel `first` of each; returns whether all results are finite. `bias` may be null.
    bool (*output)(const float* from, i64 step, const float* bias, i64 n, float* const* pixels, i64 first);
    void (*weights)(const float* taps, i64 tap_step, i64 n, float* to, i64 step);  // 3x3 rows of n channels
    // The transposed transforms, for the gradient of the weights: of 4x4 pixels, and back to 3x3 taps.
    void (*gradient)(const float* const* pixels, i64 first, i64 n, float* to, i64 step);
    void (*taps)(const float* from, i64 step, i64 n, float* to, i64 tap_step);
};
inline constexpr i64 WINOGRAD_GROUP = 32;

// Whether convolutions of this shape come here: planes are then brought into the order of channels-last first.
bool winograd_serves(const ConvShape& s, int dtype);
// float32, channels-last and dense; weights plain (O, C, 3, 3). UNSUPPORTED where the direct way is better or right:
// other shapes, and results with an inf or a nan, which would fill whole tiles here.
Status winograd_forward(const ConvShape& s, int dtype, Activation x, const char* w, const char* bias, char* y);
Status winograd_grad_input(const ConvShape& s, int dtype, Activation g, const char* w, char* gx);
Status winograd_grad_weight(const ConvShape& s, int dtype, Activation g, Activation x, float* gw);

enum class WinogradUse : int { never = 0, where_it_pays = 1, wherever_possible = 2 };
WinogradUse set_winograd(WinogradUse use);  // returns what was set before; for tests and measurements

}  // namespace mlcore_cpu
