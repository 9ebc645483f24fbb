// Gradients of convolutions of huge images: bands of rows as tasks, where one image would keep a thread for seconds.
#include "convolution_bands.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "alloc.hpp"
#include "drivers.hpp"

namespace mlcore_cpu {
namespace {

constexpr double BAND = 4e9, BAND_OF_GROUPS = 1e9;  // operations of a band: some 20 ms; grouped ones are slower
constexpr i64 WAVE = 4;                             // bands whose gradients of the weights wait to be added up

struct Rows {
    i64 n, c, o, in, out;  // pixels of a row of the input, and of the output; channels
    explicit Rows(const ConvShape& s) : n(s.n), c(s.c), o(s.o), in(1), out(1) {
        for (int d = 1; d < s.spatial; ++d) in *= s.in[d], out *= s.out[d];
    }
};

// Rows [begin, end) of the output as a convolution of its own, of rows [from, to) of the input; false: all padding.
bool band_of(const ConvShape& s, i64 begin, i64 end, ConvShape& band, i64& from, i64& to) {
    const i64 first = begin * s.stride[0] - s.pad_lo[0], last = (end - 1) * s.stride[0] - s.pad_lo[0] + s.dilation[0] * (s.kernel[0] - 1);
    from = std::max<i64>(first, 0), to = std::min(last + 1, s.in[0]);
    if (to <= from) return false;
    band = s;
    band.n = 1;
    band.in[0] = to - from, band.out[0] = end - begin;
    band.pad_lo[0] = from - first, band.pad_hi[0] = last + 1 - to;
    return true;
}

// Rows [from, to) of an image, channels-last and dense: where they lie, or a copy.
class Band {
  public:
    Band(const Activation& a, i64 image, i64 rows, i64 row, i64 channels, i64 from, i64 to, int item)
        : copy_(a.planes ? (to - from) * row * channels * item : 0), data_(copy_.get()) {
        if (!a.planes) {
            data_ = const_cast<char*>(a.data) + (image * rows + from) * row * channels * item;
        } else if (data_) {
            const i64 plane = rows * row;
            table().transpose[log2_itemsize(item)](a.data + (image * channels * plane + from * row) * item, plane, data_, channels, channels, (to - from) * row);
        }
    }
    bool failed() const { return copy_.failed(); }
    Activation get() const { return {data_, false}; }

  private:
    Scratch copy_;
    char* data_;
};

}  // namespace

i64 bands_of(const ConvShape& s) {
    double operations = 2.0 * static_cast<double>(s.o) * static_cast<double>(s.c / s.groups);
    for (int d = 0; d < s.spatial; ++d) operations *= static_cast<double>(s.out[d] * s.kernel[d]);
    return std::min(s.out[0], static_cast<i64>(operations / (s.groups > 1 ? BAND_OF_GROUPS : BAND)));
}

Status grad_input_by_bands(const ConvShape& s, int dtype, Activation g, const char* w, char* gx, i64 bands) {
    const Rows row(s);
    const int item = ITEMSIZE[dtype];
    const i64 height = ceil_div(s.in[0], bands), count = ceil_div(s.in[0], height), bytes = row.in * s.c * item;
    std::atomic<int> worst{OK};
    const Status status = parallel_for(s.n * count, [&](i64 task) {
        const i64 image = task / count, a = task % count * height, b = std::min(s.in[0], a + height);
        char* to = gx + (image * s.in[0] + a) * bytes;
        // the rows of the output that rows [a, b) of the input have a share in
        const i64 low = a + s.pad_lo[0] - s.dilation[0] * (s.kernel[0] - 1), high = b - 1 + s.pad_lo[0];
        const i64 begin = low <= 0 ? 0 : ceil_div(low, s.stride[0]), end = std::min(s.out[0], high / s.stride[0] + 1);
        ConvShape band;
        i64 from = 0, stop = 0;
        if (begin >= end || !band_of(s, begin, end, band, from, stop)) {
            std::memset(to, 0, static_cast<std::size_t>((b - a) * bytes));
            return;
        }
        const Band part(g, image, s.out[0], row.out, s.o, begin, end, item);
        Scratch made((stop - from) * bytes);
        if (part.failed() || made.failed()) {
            worst = NO_MEMORY;
            return;
        }
        const Status one = dnn_conv_grad_input(band, dtype, part.get(), w, made.get());
        if (one != OK) worst = one;
        for (i64 i = a; i < b; ++i) {
            char* line = to + (i - a) * bytes;
            if (i >= from && i < stop) std::memcpy(line, made.get() + (i - from) * bytes, static_cast<std::size_t>(bytes));
            else std::memset(line, 0, static_cast<std::size_t>(bytes));
        }
    });
    return status != OK ? status : static_cast<Status>(worst.load());
}

Status grad_weight_by_bands(const ConvShape& s, int dtype, Activation g, Activation x, float* gw, i64 bands) {
    const Rows row(s);
    const int item = ITEMSIZE[dtype];
    i64 weights = s.o * (s.c / s.groups);
    for (int d = 0; d < s.spatial; ++d) weights *= s.kernel[d];
    const i64 height = ceil_div(s.out[0], bands), count = ceil_div(s.out[0], height), tasks = s.n * count;
    Scratch memory(WAVE * weights * static_cast<i64>(sizeof(float)));
    if (memory.failed()) return NO_MEMORY;
    float* parts = memory.get<float>();
    for (i64 first = 0; first < tasks; first += WAVE) {
        const i64 wave = std::min(WAVE, tasks - first);
        std::atomic<int> worst{OK};
        Status status = parallel_for(wave, [&](i64 k) {
            const i64 image = (first + k) / count, begin = (first + k) % count * height, end = std::min(s.out[0], begin + height);
            float* part = parts + k * weights;
            ConvShape band;
            i64 from = 0, stop = 0;
            if (!band_of(s, begin, end, band, from, stop)) {
                std::memset(part, 0, static_cast<std::size_t>(weights) * sizeof(float));
                return;
            }
            const Band dy(g, image, s.out[0], row.out, s.o, begin, end, item), in(x, image, s.in[0], row.in, s.c, from, stop, item);
            const Status one = dy.failed() || in.failed() ? NO_MEMORY : dnn_conv_grad_weight(band, dtype, dy.get(), in.get(), part);
            if (one != OK) worst = one;
        });
        if (status == OK) status = static_cast<Status>(worst.load());
        if (status != OK) return status;
        status = ranges(weights, wave, [&](i64 at, i64 n) {
            if (first == 0) std::memset(gw + at, 0, static_cast<std::size_t>(n) * sizeof(float));
            for (i64 k = 0; k < wave; ++k)
                for (i64 i = at; i < at + n; ++i) gw[i] += parts[k * weights + i];
        });
        if (status != OK) return status;
    }
    return OK;
}

}  // namespace mlcore_cpu
