// 1x1 convolutions as products of matrices, and what follows a convolution channel by channel.
#include "pointwise.hpp"

#include <cmath>

#include "alloc.hpp"
#include "channels.hpp"
#include "drivers.hpp"
#include "gemm.hpp"
#include "tables.hpp"

namespace mlcore_cpu {
namespace {

constexpr i64 FLOAT = sizeof(float);

View matrix(const void* data, i64 rows, i64 columns, i64 row_stride, i64 column_stride) {
    return {static_cast<char*>(const_cast<void*>(data)), F32, 2, {rows, columns}, {row_stride * FLOAT, column_stride * FLOAT}};
}
i64 pixels_of(const ConvShape& s) {
    i64 pixels = s.n;
    for (int d = 0; d < s.spatial; ++d) pixels *= s.in[d];
    return pixels;
}

}  // namespace

Status run_finish(const Finish& f, float* y, i64 rows, i64 c) {
    return ranges(rows, c, [&](i64 row, i64 count) { table().channels->finish(f, y + row * c, count, c, c); });
}

void fold_norm(const float* bias, const float* mean, const float* var, const float* gain, const float* offset, i64 c, double eps,
               float* scale, float* shift) {
    for (i64 k = 0; k < c; ++k) {
        const double s = 1.0 / std::sqrt(static_cast<double>(var[k]) + eps) * (gain ? static_cast<double>(gain[k]) : 1.0);
        const double centre = static_cast<double>(bias ? bias[k] : 0.0f) - static_cast<double>(mean[k]);
        scale[k] = static_cast<float>(s);
        shift[k] = static_cast<float>(centre * s + (offset ? static_cast<double>(offset[k]) : 0.0));
    }
}

bool pointwise_serves(const ConvShape& s, int dtype) { return dtype == F32 && s.groups == 1 && is_pointwise(s); }

Status pointwise_forward(const ConvShape& s, const char* x, const char* w, const char* bias, char* y, const Finish* finish) {
    const i64 p = pixels_of(s);
    const View row{const_cast<char*>(bias), F32, 1, {s.o}, {FLOAT}};
    return run_matmul(matrix(x, p, s.c, s.c, 1), matrix(w, s.c, s.o, 1, s.c), bias ? &row : nullptr, matrix(y, p, s.o, s.o, 1), finish);
}

Status pointwise_grad_input(const ConvShape& s, const char* g, const char* w, char* gx) {
    const i64 p = pixels_of(s);
    return run_matmul(matrix(g, p, s.o, s.o, 1), matrix(w, s.o, s.c, s.c, 1), nullptr, matrix(gx, p, s.c, s.c, 1));
}

Status pointwise_grad_weight(const ConvShape& s, const char* g, const char* x, char* gw) {
    const i64 p = pixels_of(s), wide = table().gemm->of[F32]->columns;
    if (s.c >= wide || s.o <= s.c)
        return run_matmul(matrix(g, s.o, p, 1, s.o), matrix(x, p, s.c, s.c, 1), nullptr, matrix(gw, s.o, s.c, s.c, 1));
    // Few input channels would leave the columns of a tile empty: the transposed product, which is small.
    Scratch turned(s.c * s.o * FLOAT);
    if (turned.failed()) return NO_MEMORY;
    const Status status = run_matmul(matrix(x, s.c, p, 1, s.c), matrix(g, p, s.o, s.o, 1), nullptr, matrix(turned.get(), s.c, s.o, s.o, 1));
    if (status == OK) table().transpose[2](turned.get(), s.o, gw, s.c, s.c, s.o);
    return status;
}

}  // namespace mlcore_cpu
