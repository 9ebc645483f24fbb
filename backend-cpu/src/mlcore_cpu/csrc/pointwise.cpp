// 1x1 convolutions, with a stride or without, as products of matrices, and what follows a convolution channel by channel.
#include "pointwise.hpp"

#include <cmath>
#include <cstring>

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
i64 pixels_of(const ConvShape& s) {  // of the result
    i64 pixels = s.n;
    for (int d = 0; d < s.spatial; ++d) pixels *= s.out[d];
    return pixels;
}

// f(first pixel of a row of the result, the pixel of the input that it reads) for all rows, in parallel: with a stride
// only some pixels of the input are read.
template <class F>
Status sampled_rows(const ConvShape& s, F&& f) {
    const int last = s.spatial - 1;
    return ranges(pixels_of(s) / s.out[last], s.out[last] * s.c, [&](i64 row, i64 count) {
        for (; count > 0; ++row, --count) {
            i64 rest = row, pixel = 0, step = s.in[last];
            for (int d = last - 1; d >= 0; --d) {
                pixel += rest % s.out[d] * s.stride[d] * step;
                rest /= s.out[d];
                step *= s.in[d];
            }
            f(row * s.out[last], pixel + rest * step);
        }
    });
}

// The pixels of `x` that the result reads, side by side: x itself without a stride, else a copy in `memory`.
struct Sampled {
    const char* data;
    Status status;
    Scratch memory;
    Sampled(const ConvShape& s, const char* x) : data(x), status(OK), memory(is_pointwise(s) ? 0 : pixels_of(s) * s.c * FLOAT) {
        if (memory.failed()) status = NO_MEMORY;
        if (status != OK || is_pointwise(s)) return;
        const i64 bytes = s.c * FLOAT, step = s.stride[s.spatial - 1], count = s.out[s.spatial - 1];
        status = sampled_rows(s, [&](i64 to, i64 from) {
            for (i64 i = 0; i < count; ++i)
                std::memcpy(memory.get() + (to + i) * bytes, x + (from + i * step) * bytes, static_cast<std::size_t>(bytes));
        });
        data = memory.get();
    }
};

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

bool pointwise_serves(const ConvShape& s, int dtype) {
    bool one = dtype == F32 && s.groups == 1;
    for (int d = 0; d < s.spatial; ++d) one = one && s.kernel[d] == 1 && !s.pad_lo[d] && !s.pad_hi[d];
    return one;
}

Status pointwise_forward(const ConvShape& s, const char* x, const char* w, const char* bias, char* y, const Finish* finish) {
    const i64 p = pixels_of(s);
    const Sampled read(s, x);
    if (read.status != OK) return read.status;
    const View row{const_cast<char*>(bias), F32, 1, {s.o}, {FLOAT}};
    return run_matmul(matrix(read.data, p, s.c, s.c, 1), matrix(w, s.c, s.o, 1, s.c), bias ? &row : nullptr, matrix(y, p, s.o, s.o, 1), finish);
}

Status pointwise_grad_input(const ConvShape& s, const char* g, const char* w, char* gx) {
    const i64 p = pixels_of(s), bytes = s.c * FLOAT;
    Scratch sampled(is_pointwise(s) ? 0 : p * bytes);
    if (sampled.failed()) return NO_MEMORY;
    char* made = is_pointwise(s) ? gx : sampled.get();
    Status status = run_matmul(matrix(g, p, s.o, s.o, 1), matrix(w, s.o, s.c, s.c, 1), nullptr, matrix(made, p, s.c, s.c, 1));
    if (status != OK || is_pointwise(s)) return status;
    i64 pixels = s.n;
    for (int d = 0; d < s.spatial; ++d) pixels *= s.in[d];
    status = ranges(pixels, s.c, [&](i64 first, i64 count) { std::memset(gx + first * bytes, 0, static_cast<std::size_t>(count * bytes)); });
    if (status != OK) return status;
    const i64 step = s.stride[s.spatial - 1], count = s.out[s.spatial - 1];
    return sampled_rows(s, [&](i64 from, i64 to) {
        for (i64 i = 0; i < count; ++i)
            std::memcpy(gx + (to + i * step) * bytes, made + (from + i) * bytes, static_cast<std::size_t>(bytes));
    });
}

Status pointwise_grad_weight(const ConvShape& s, const char* g, const char* given, char* gw) {
    const i64 p = pixels_of(s), wide = table().gemm->of[F32]->columns;
    const Sampled read(s, given);
    if (read.status != OK) return read.status;
    const char* x = read.data;
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
