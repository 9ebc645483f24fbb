// Convolutions by oneDNN: groups of images as tasks, weights repacked where the primitive wants another layout.
#include "convolution.hpp"

#include "convolution_bands.hpp"
#include "dnn_common.hpp"

#ifndef MLCORE_ONEDNN

namespace mlcore_cpu {
Status dnn_conv_forward(const ConvShape&, int, Activation, const char*, const char*, char*, const Finish*) { return UNSUPPORTED; }
Status dnn_conv_grad_input(const ConvShape&, int, Activation, const char*, char*) { return UNSUPPORTED; }
Status dnn_conv_grad_weight(const ConvShape&, int, Activation, Activation, float*) { return UNSUPPORTED; }
}  // namespace mlcore_cpu

#else

#include <algorithm>
#include <cstring>
#include <vector>

#include "alloc.hpp"
#include "channels.hpp"
#include "gemm.hpp"
#include "pool.hpp"
#include "tables.hpp"

namespace mlcore_cpu {
using namespace dnn;
namespace {

enum class Pass { forward, grad_input, grad_weight };

Dims spatial(const ConvShape& s, const i64* values, i64 minus = 0) {
    Dims dims;
    for (int d = 0; d < s.spatial; ++d) dims.push_back(values[d] - minus);
    return dims;
}
Dims with(i64 a, i64 b, const Dims& rest) {
    Dims dims{a, b};
    dims.insert(dims.end(), rest.begin(), rest.end());
    return dims;
}
Dims weight_dims(const ConvShape& s) {
    Dims dims = with(s.o / s.groups, s.c / s.groups, spatial(s, s.kernel));
    if (s.groups > 1) dims.insert(dims.begin(), s.groups);
    return dims;
}
memory::desc plain_weights(const ConvShape& s, memory::data_type type) {
    const Dims dims = weight_dims(s);
    Dims strides(dims.size(), 1);
    for (int d = static_cast<int>(dims.size()) - 2; d >= 0; --d) strides[d] = strides[d + 1] * dims[d + 1];
    return memory::desc(dims, type, strides);
}

// The reorders between plain weights and `layout`; large weights in several, by output channels, for the pool.
std::vector<Repack> repacks(const ConvShape& s, memory::data_type type, const memory::desc& layout, bool from_plain) {
    const memory::desc plain = plain_weights(s, type);
    if (plain == layout) return {};
    auto between = [&](const memory::desc& a, const memory::desc& b) {
        return from_plain ? Repack{reorder_between(a, b), a, b} : Repack{reorder_between(b, a), b, a};
    };
    constexpr i64 EACH = 64;
    if (from_plain && s.groups == 1 && s.o > EACH && s.o % EACH == 0 && plain.get_size() > (std::size_t{1} << 18)) try {
        std::vector<Repack> found;
        Dims dims = weight_dims(s), at(dims.size(), 0);
        dims[0] = EACH;
        for (at[0] = 0; at[0] < s.o; at[0] += EACH) found.push_back(between(plain.submemory_desc(dims, at), layout.submemory_desc(dims, at)));
        return found;
    } catch (const dnnl::error&) {  // not a layout that is cut there
    }
    return {between(plain, layout)};
}

Shared conv_primitive(const ConvShape& s, int dtype, bool bias, Pass pass) {
    Key key;
    key.add('C').add(static_cast<i64>(pass)).add(dtype).add(bias).add(s.n).add(s.c).add(s.o).add(s.groups);
    for (const i64* v : {s.in, s.kernel, s.out, s.stride, s.dilation, s.pad_lo, s.pad_hi}) key.add(spatial(s, v));
    return compiled(key, [&] {
        using tag = memory::format_tag;
        const tag layout = s.spatial == 1 ? tag::nwc : (s.spatial == 2 ? tag::nhwc : tag::ndhwc);
        const auto type = type_of(dtype);
        const memory::desc x(with(s.n, s.c, spatial(s, s.in)), type, layout);
        const memory::desc y(with(s.n, s.o, spatial(s, s.out)), type, layout);
        const memory::desc w(weight_dims(s), type, tag::any);
        const memory::desc b = bias ? memory::desc({s.o}, type, tag::x) : memory::desc();
        const Dims strides = spatial(s, s.stride), dilates = spatial(s, s.dilation, 1);
        const Dims lo = spatial(s, s.pad_lo), hi = spatial(s, s.pad_hi);
        const auto direct = dnnl::algorithm::convolution_direct;
        const auto attr = attributes();
        Compiled c;
        dnnl::convolution_forward::primitive_desc forward(
            engine(), dnnl::prop_kind::forward_training, direct, x, w, b, y, strides, dilates, lo, hi, attr);
        if (pass == Pass::forward) {
            c.primitive = dnnl::convolution_forward(forward);
            c.weights = forward.weights_desc();
            c.scratch = forward.scratchpad_desc();
        } else if (pass == Pass::grad_input) {
            dnnl::convolution_backward_data::primitive_desc pd(
                engine(), direct, x, w, y, strides, dilates, lo, hi, forward, attr);
            c.primitive = dnnl::convolution_backward_data(pd);
            c.weights = pd.weights_desc();
            c.scratch = pd.scratchpad_desc();
        } else {
            const memory::desc gw(weight_dims(s), memory::data_type::f32, tag::any);
            dnnl::convolution_backward_weights::primitive_desc pd(
                engine(), direct, x, gw, y, strides, dilates, lo, hi, forward, attr);
            c.primitive = dnnl::convolution_backward_weights(pd);
            c.weights = pd.diff_weights_desc();
            c.scratch = pd.scratchpad_desc();
        }
        c.src = x;
        c.dst = y;
        c.bias = b;
        c.repack = repacks(s, pass == Pass::grad_weight ? memory::data_type::f32 : type, c.weights, pass != Pass::grad_weight);
        return c;
    });
}

struct Volumes {
    i64 x, y, w;  // elements of one image's input and output, and of the weights
    double flops; // of one image
    explicit Volumes(const ConvShape& s) : x(s.c), y(s.o), w(s.o * (s.c / s.groups)) {
        for (int d = 0; d < s.spatial; ++d) {
            x *= s.in[d];
            y *= s.out[d];
            w *= s.kernel[d];
        }
        flops = 2.0 * (static_cast<double>(y) / s.o) * w;
    }
};

ConvShape flattened(ConvShape s) {
    if (!is_pointwise(s)) return s;
    i64 pixels = s.n;
    for (int d = 0; d < s.spatial; ++d) pixels *= s.in[d];
    s.n = s.spatial = 1;
    s.in[0] = s.out[0] = pixels;
    return s;
}

// What one task does: some images, or the output rows [begin, end) of one image.
struct Piece {
    ConvShape shape;
    i64 x, y;  // where its input and output begin, in elements of channels-last memory
    i64 image, row_x, row_y;  // the same as image and rows
    Shared primitive;
    const char* weights;
};

// The rows of the input that rows [begin, end) of the output read, as a convolution of their own.
bool cut_rows(const ConvShape& s, i64 image, i64 begin, i64 end, Piece& piece) {
    const Volumes v(s);
    const i64 first = begin * s.stride[0] - s.pad_lo[0];
    const i64 last = (end - 1) * s.stride[0] - s.pad_lo[0] + s.dilation[0] * (s.kernel[0] - 1);
    const i64 from = std::max<i64>(first, 0), to = std::min(last, s.in[0] - 1);
    if (to < from) return false;  // all padding
    piece.shape = s;
    piece.shape.n = 1;
    piece.shape.in[0] = to - from + 1;
    piece.shape.out[0] = end - begin;
    piece.shape.pad_lo[0] = from - first;
    piece.shape.pad_hi[0] = last - to;
    piece.x = image * v.x + from * (v.x / s.in[0]);
    piece.y = image * v.y + begin * (v.y / s.out[0]);
    piece.image = image;
    piece.row_x = from;
    piece.row_y = begin;
    return true;
}

constexpr i64 FEW_PIXELS = 256;  // of all images: fewer than the weights have rows, or nearly
constexpr double TASK = 4e6, LONG = 4e8;  // operations: what a task is worth, and what it may take (Ctrl-C)

// Tasks by shape only: groups of images; rows where images are few or huge.
std::vector<Piece> pieces_of(const ConvShape& s, bool rows_too) {
    const Volumes v(s);
    std::vector<Piece> found;
    const double flops = std::max(1.0, v.flops);
    const i64 most = s.n > 1 && v.w > (i64{1} << 19) ? 8 : 16;  // large weights are read once a task
    const i64 wanted = std::max<i64>(1, std::min<i64>(most, static_cast<i64>(flops * s.n / TASK)));
    i64 slices = 1;
    if (rows_too && (s.n < 8 || v.flops > LONG)) {
        slices = std::min<i64>({ceil_div(wanted, s.n), s.out[0] / 4, static_cast<i64>(flops / TASK)});
        slices = std::max<i64>({1, slices, std::min(s.out[0], static_cast<i64>(flops / LONG))});
    }
    if (slices > 1) {
        const i64 rows = ceil_div(s.out[0], slices);
        bool whole = true;
        for (i64 image = 0; image < s.n && whole; ++image)
            for (i64 begin = 0; begin < s.out[0] && whole; begin += rows) {
                found.emplace_back();
                whole = cut_rows(s, image, begin, std::min(s.out[0], begin + rows), found.back());
            }
        if (whole) return found;
        found.clear();
    }
    const i64 images = std::max<i64>(1, std::min<i64>(ceil_div(s.n, wanted), static_cast<i64>(LONG / flops)));
    for (i64 image = 0; image < s.n; image += images) {
        found.push_back({s, image * v.x, image * v.y, image, 0, 0, nullptr, nullptr});
        found.back().shape.n = std::min(images, s.n - image);
    }
    return found;
}

// The weights as primitives want them: one copy for each layout.
class Packed {
  public:
    explicit Packed(const char* plain) : plain_(plain) {}
    Status weights(const Shared& primitive, const char** out) {
        *out = plain_;
        if (primitive->repack.empty()) return OK;
        for (const auto& one : copies_)
            if (one.layout == primitive->weights) {
                *out = one.block->get();
                return OK;
            }
        Copy copy{primitive->weights, std::make_unique<Scratch>(static_cast<i64>(primitive->weights.get_size()))};
        if (copy.block->failed()) return NO_MEMORY;
        char* to = copy.block->get();
        std::atomic<bool> failed{false};
        const Status status = parallel_for(static_cast<i64>(primitive->repack.size()), [&](i64 i) {
            repack(primitive->repack[static_cast<std::size_t>(i)], plain_, to, failed);
        });
        if (status != OK || failed) return failed ? NO_MEMORY : status;
        *out = to;
        copies_.push_back(std::move(copy));
        return OK;
    }

  private:
    struct Copy {
        memory::desc layout;
        std::unique_ptr<Scratch> block;
    };
    const char* plain_;
    std::vector<Copy> copies_;
};

// The channels [first, first + width) of `pixels` pixels of some images, channels-last and dense: a part of planes
// is brought into that order here, in the task that uses it, so that the copy never leaves the cache.
void gather_channels(const Activation& a, char* to, int item, i64 image, i64 images, i64 channels, i64 first, i64 width, i64 all, i64 pixel, i64 pixels) {
    if (a.planes) {
        const auto loop = table().transpose[log2_itemsize(item)];
        for (i64 i = 0; i < images; ++i)
            loop(a.data + (((image + i) * channels + first) * all + pixel) * item, all, to + i * pixels * width * item, width, width, pixels);
        return;
    }
    const char* from = a.data + ((image * all + pixel) * channels + first) * item;
    for (i64 p = 0; p < images * pixels; ++p) std::memcpy(to + p * width * item, from + p * channels * item, static_cast<std::size_t>(width * item));
}

Status conv_by_images(const ConvShape& given, int dtype, bool forward, Activation in, const char* w, const char* bias, char* out, const Finish* finish) try {
    const ConvShape s = in.planes ? given : flattened(given);
    const int item = ITEMSIZE[dtype];
    const Pass pass = forward ? Pass::forward : Pass::grad_input;
    std::vector<Piece> pieces = pieces_of(s, forward || is_pointwise(s));
    const Volumes whole(s);
    const i64 channels = forward ? s.c : s.o, pixels = (forward ? whole.x : whole.y) / channels;
    Packed packed(w);
    for (Piece& one : pieces) {
        one.primitive = conv_primitive(one.shape, dtype, bias != nullptr, pass);
        const Status status = packed.weights(one.primitive, &one.weights);
        if (status != OK) return status;
    }
    std::atomic<bool> failed{false};
    const Status status = parallel_for(static_cast<i64>(pieces.size()), [&](i64 task) {
        const Piece& p = pieces[static_cast<std::size_t>(task)];
        const Compiled& c = *p.primitive;
        const char* from = in.data + (forward ? p.x : p.y) * item;
        const Volumes v(p.shape);
        const i64 count = (forward ? v.x : v.y) / channels;  // pixels of each of its images
        Scratch gathered(in.planes ? p.shape.n * count * channels * item : 0);
        if (gathered.failed()) {
            failed = true;
            return;
        }
        if (in.planes) {
            const i64 row = forward ? p.row_x * (pixels / s.in[0]) : p.row_y * (pixels / s.out[0]);
            gather_channels(in, gathered.get(), item, p.image, p.shape.n, channels, 0, channels, pixels, row, count);
            from = gathered.get();
        }
        char* to = out + (forward ? p.y : p.x) * item;
        std::unordered_map<int, memory> args{{DNNL_ARG_WEIGHTS, wrap(c.weights, p.weights)}};
        args[forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_SRC] = wrap(c.src, forward ? from : to);
        args[forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST] = wrap(c.dst, forward ? to : from);
        if (bias) args[DNNL_ARG_BIAS] = wrap(c.bias, bias);
        execute(c, std::move(args), failed);
        if (finish) table().channels->finish(*finish, reinterpret_cast<float*>(to), v.y / s.o * p.shape.n, s.o, s.o);
    });
    return failed ? NO_MEMORY : status;
} catch (const dnnl::error&) {
    return UNSUPPORTED;
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}

}  // namespace

Status dnn_conv_forward(const ConvShape& s, int dtype, Activation x, const char* w, const char* bias, char* y, const Finish* finish) {
    return conv_by_images(s, dtype, true, x, w, bias, y, finish);
}
Status dnn_conv_grad_input(const ConvShape& s, int dtype, Activation g, const char* w, char* gx) {
    const i64 bands = is_pointwise(s) && !g.planes ? 1 : bands_of(s);
    return bands > 1 ? grad_input_by_bands(s, dtype, g, w, gx, bands) : conv_by_images(s, dtype, false, g, w, nullptr, gx, nullptr);
}

namespace {

// gw = the sum of the parts, in their order
Status add_parts(const float* parts, i64 count, i64 n, float* gw) {
    constexpr i64 CHUNK = 16 * 1024;
    return parallel_for(ceil_div(n, CHUNK), [&](i64 chunk) {
        const i64 first = chunk * CHUNK, last = std::min(n, first + CHUNK);
        std::memcpy(gw + first, parts + first, static_cast<std::size_t>(last - first) * sizeof(float));
        for (i64 part = 1; part < count; ++part) {
            const float* p = parts + part * n;
            for (i64 i = first; i < last; ++i) gw[i] += p[i];
        }
    });
}

}  // namespace

Status dnn_conv_grad_weight(const ConvShape& given, int dtype, Activation g, Activation x, float* gw) try {
    const bool planes = g.planes || x.planes;
    const i64 bands = is_pointwise(given) && !planes ? 1 : bands_of(given);
    if (bands > 1) return grad_weight_by_bands(given, dtype, g, x, gw, bands);
    const ConvShape s = planes ? given : flattened(given);
    const Volumes v(s);
    const int item = ITEMSIZE[dtype];
    const i64 pixels = v.y / s.o;
    // Large weights are cut by output channels, so that no second copy of their gradient is summed; the rest, and
    // the rest of the parallelism, is cut by images (by pixels in a 1x1 convolution).
    const i64 width = s.groups == 1 && s.o >= 256 && s.o % 64 == 0 && v.w >= (i64{1} << 18) ? 64 : s.o;
    const i64 slices = s.o / width;
    const bool by_pixels = s.n == 1 && s.spatial == 1 && is_pointwise(s) && !g.planes && !x.planes;
    if (by_pixels && dtype == F32 && s.groups == 1 && slices == 1 && s.in[0] <= FEW_PIXELS) {
        const auto matrix = [](const void* data, i64 rows, i64 columns, i64 row_stride, i64 column_stride) {
            return View{static_cast<char*>(const_cast<void*>(data)), F32, 2, {rows, columns}, {row_stride * 4, column_stride * 4}};
        };  // (O, pixels) @ (pixels, C): no partial sums, no blocked layout to turn back
        return run_matmul(matrix(g.data, s.o, s.in[0], 1, s.o), matrix(x.data, s.in[0], s.c, s.c, 1), nullptr, matrix(gw, s.o, s.c, s.c, 1));
    }
    const i64 units = by_pixels ? s.in[0] : s.n;
    const double flops = v.flops * s.n / slices / units;  // of a unit in a slice
    const i64 wanted = std::max<i64>(1, std::min<i64>({ceil_div(8, slices), units, static_cast<i64>(flops * units / TASK)}));
    const i64 each = std::max<i64>(1, std::min<i64>(ceil_div(units, wanted), static_cast<i64>(2 * LONG / std::max(1.0, flops))));
    const i64 parts = ceil_div(units, each), rest = units - (parts - 1) * each;
    auto primitive_for = [&](i64 count) {
        ConvShape one = s;
        one.o = width;
        (by_pixels ? one.in[0] : one.n) = count;
        if (by_pixels) one.out[0] = count;
        return conv_primitive(one, dtype, false, Pass::grad_weight);
    };
    const Shared main = primitive_for(each), tail = rest == each ? main : primitive_for(rest);
    const i64 unit_x = by_pixels ? s.c : v.x, unit_pixels = by_pixels ? 1 : pixels, slice_w = v.w / slices;
    Scratch partial(parts > 1 ? parts * v.w * static_cast<i64>(sizeof(float)) : 0);
    if (partial.failed()) return NO_MEMORY;
    std::atomic<bool> failed{false};
    Status status = parallel_for(parts * slices, [&](i64 task) {
        const i64 part = task / slices, slice = task % slices, count = part == parts - 1 ? rest : each;
        const Compiled& c = part == parts - 1 ? *tail : *main;
        float* result = (parts > 1 ? partial.get<float>() + part * v.w : gw) + slice * slice_w;
        const char *dy = g.data + part * each * unit_pixels * s.o * item, *from = x.data + part * each * unit_x * item;
        Scratch blocked(c.repack.empty() ? 0 : static_cast<i64>(c.weights.get_size()));
        Scratch some_g(slices > 1 || g.planes ? count * unit_pixels * width * item : 0), some_x(x.planes ? count * unit_x * item : 0);
        if (blocked.failed() || some_g.failed() || some_x.failed()) {
            failed = true;
            return;
        }
        if (some_g.get()) {
            gather_channels(g, some_g.get(), item, part * each, count, s.o, slice * width, width, unit_pixels, 0, unit_pixels);
            dy = some_g.get();
        }
        if (some_x.get()) {
            gather_channels(x, some_x.get(), item, part * each, count, s.c, 0, s.c, v.x / s.c, 0, v.x / s.c);
            from = some_x.get();
        }
        void* target = blocked.get() ? static_cast<void*>(blocked.get()) : result;
        execute(c, {{DNNL_ARG_SRC, wrap(c.src, from)},
                    {DNNL_ARG_DIFF_DST, wrap(c.dst, dy)},
                    {DNNL_ARG_DIFF_WEIGHTS, wrap(c.weights, target)}}, failed);
        for (const Repack& one : c.repack)
            if (!failed) repack(one, target, result, failed);
    });
    if (status != OK || failed) return failed ? NO_MEMORY : status;
    return parts > 1 ? add_parts(partial.get<float>(), parts, v.w, gw) : OK;
} catch (const dnnl::error&) {
    return UNSUPPORTED;
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}

}  // namespace mlcore_cpu

#endif
