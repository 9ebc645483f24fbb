// Depthwise convolutions, row by row of the result. Tasks are some rows; the cuts depend on the shape only.
#include "depthwise.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "alloc.hpp"
#include "drivers.hpp"
#include "tables.hpp"

namespace mlcore_cpu {
namespace {

constexpr i64 FLOAT = sizeof(float), LARGEST = 7;  // elements of a kernel's side

// Images with two dimensions: a line is an image of one row.
struct Shape {
    i64 n, c, ih, iw, oh, ow, kh, kw, stride_h, stride_w, dilation_h, dilation_w, top, left;
    explicit Shape(const ConvShape& s) : n(s.n), c(s.c) {
        const int w = s.spatial - 1;
        const bool flat = s.spatial == 1;
        ih = flat ? 1 : s.in[0], oh = flat ? 1 : s.out[0], kh = flat ? 1 : s.kernel[0];
        stride_h = flat ? 1 : s.stride[0], dilation_h = flat ? 1 : s.dilation[0], top = flat ? 0 : s.pad_lo[0];
        iw = s.in[w], ow = s.out[w], kw = s.kernel[w], stride_w = s.stride[w], dilation_w = s.dilation[w], left = s.pad_lo[w];
    }
};

// Results at every `y_step`-th column from `start`, with the same taps.
struct Phase {
    i64 start, count, taps, first;
    const float* weights;  // (kernel rows, taps, channels)
};

// The weights (C, KH, KW) as (KH, KW, C).
void turn(const char* w, const Shape& s, float* to) { table().transpose[2](w, s.kh * s.kw, to, s.c, s.c, s.kh * s.kw); }

i64 rows_of_task(const Shape& s, i64 columns) { return std::max<i64>(1, 2 * GRAIN / std::max<i64>(1, columns * s.c)); }

// Every row of `out` from the rows that `meets(row, kernel row)` names (-1: none) of `in`.
template <class Meets>
Status run_rows(const Shape& s, const float* in, i64 in_height, i64 in_width, float* out, i64 out_height, i64 out_width,
                const Phase* phases, i64 n_phases, i64 step, i64 dilation, const Finish* finish, Meets&& meets) {
    const i64 each = rows_of_task(s, out_width), total = s.n * out_height;
    return parallel_for(ceil_div(total, each), [&](i64 task) {
        const float *rows[LARGEST], *weights[LARGEST];
        for (i64 at = task * each; at < std::min(total, (task + 1) * each); ++at) {
            const float* image = in + at / out_height * in_height * in_width * s.c;
            for (i64 p = 0; p < n_phases; ++p) {
                const Phase& phase = phases[p];
                DepthwiseRow r{s.c, phase.count, 0, phase.taps, rows, weights, phase.first, step, dilation, in_width,
                               out + (at * out_width + phase.start) * s.c, n_phases * s.c, finish};
                for (i64 k = 0; k < s.kh && phase.taps > 0; ++k) {
                    const i64 row = meets(at % out_height, k);
                    if (row < 0) continue;
                    rows[r.n_rows] = image + row * in_width * s.c;
                    weights[r.n_rows++] = phase.weights + k * phase.taps * s.c;
                }
                table().depthwise->row(r);
            }
        }
    });
}

}  // namespace

bool depthwise_serves(const ConvShape& s, int dtype) {
    if (dtype != F32 || s.spatial > 2 || s.groups < 2 || s.groups != s.c || s.groups != s.o) return false;
    for (int d = 0; d < s.spatial; ++d)
        if (s.kernel[d] > LARGEST || (s.stride[d] != 1 && s.dilation[d] != 1) || s.stride[d] > LARGEST) return false;
    return true;
}

Status depthwise_forward(const ConvShape& given, const char* x, const char* w, const char* bias, char* y, const Finish* finish) {
    const Shape s(given);
    Scratch turned(s.kh * s.kw * s.c * FLOAT);
    if (turned.failed()) return NO_MEMORY;
    turn(w, s, turned.get<float>());
    const Finish plus{nullptr, in<float>(bias), false, 0, 0};
    const Phase all{0, s.ow, s.kw, -s.left, turned.get<float>()};
    return run_rows(s, in<float>(x), s.ih, s.iw, out<float>(y), s.oh, s.ow, &all, 1, s.stride_w, s.dilation_w,
                    finish ? finish : bias ? &plus : nullptr, [&](i64 row, i64 k) {
                        const i64 at = row * s.stride_h - s.top + k * s.dilation_h;
                        return at >= 0 && at < s.ih ? at : -1;
                    });
}

// With a stride the columns of the result fall into phases, each with its own taps, of which none is a zero between
// the elements of the gradient.
Status depthwise_grad_input(const ConvShape& given, const char* g, const char* w, char* gx) {
    const Shape s(given);
    const i64 size = s.kh * s.kw * s.c;
    Scratch memory(2 * size * FLOAT);
    if (memory.failed()) return NO_MEMORY;
    float *plain = memory.get<float>(), *packed = plain + size;
    turn(w, s, plain);
    Phase phases[LARGEST];
    const i64 n_phases = s.stride_w;
    for (i64 p = 0; p < n_phases; ++p) {
        i64 taps[LARGEST], count = 0;
        for (i64 k = s.kw - 1; k >= 0; --k)
            if ((p + s.left - k * s.dilation_w) % n_phases == 0) taps[count++] = k;
        phases[p] = {p, std::max<i64>(0, ceil_div(s.iw - p, n_phases)), count,
                     count ? (p + s.left - taps[0] * s.dilation_w) / n_phases : 0, packed};
        for (i64 row = 0; row < s.kh; ++row)
            for (i64 t = 0; t < count; ++t, packed += s.c)
                std::memcpy(packed, plain + (row * s.kw + taps[t]) * s.c, static_cast<std::size_t>(s.c * FLOAT));
    }
    return run_rows(s, in<float>(g), s.oh, s.ow, out<float>(gx), s.ih, s.iw, phases, n_phases, 1, s.dilation_w, nullptr,
                    [&](i64 row, i64 k) {
                        const i64 at = row + s.top - k * s.dilation_h;
                        return at >= 0 && at % s.stride_h == 0 && at / s.stride_h < s.oh ? at / s.stride_h : -1;
                    });
}

// A task adds up some rows of the gradient; the parts are added in their order.
Status depthwise_grad_weight(const ConvShape& given, const char* g, const char* x, char* gw) {
    const Shape s(given);
    const i64 size = s.kh * s.kw * s.c, total = s.n * s.oh;
    const i64 each = std::max(rows_of_task(s, s.ow), ceil_div(total, 16)), parts = ceil_div(total, each);
    Scratch memory((parts + 1) * size * FLOAT);
    if (memory.failed()) return NO_MEMORY;
    float *partial = memory.get<float>(), *sum = partial + parts * size;
    const Status status = parallel_for(parts, [&](i64 part) {
        float* mine = partial + part * size;
        std::memset(mine, 0, static_cast<std::size_t>(size * FLOAT));
        for (i64 at = part * each; at < std::min(total, (part + 1) * each); ++at)
            for (i64 k = 0; k < s.kh; ++k) {
                const i64 row = at % s.oh * s.stride_h - s.top + k * s.dilation_h;
                if (row < 0 || row >= s.ih) continue;
                table().depthwise->sums({s.c, s.ow, s.kw, in<float>(g) + at * s.ow * s.c, in<float>(x) + (at / s.oh * s.ih + row) * s.iw * s.c,
                                         -s.left, s.stride_w, s.dilation_w, s.iw, mine + k * s.kw * s.c});
            }
    });
    if (status != OK) return status;
    std::memset(sum, 0, static_cast<std::size_t>(size * FLOAT));
    for (i64 part = 0; part < parts; ++part)
        for (i64 i = 0; i < size; ++i) sum[i] += partial[part * size + i];
    table().transpose[2](sum, s.c, gw, s.kh * s.kw, s.kh * s.kw, s.c);
    return OK;
}

}  // namespace mlcore_cpu
