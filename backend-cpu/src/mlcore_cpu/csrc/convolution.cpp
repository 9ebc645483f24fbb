// Convolutions by oneDNN: groups of images as tasks, weights repacked where the primitive wants another layout.
#include "convolution.hpp"

#include "dnn_common.hpp"

#ifndef MLCORE_ONEDNN

namespace mlcore_cpu {
Status dnn_conv_forward(const ConvShape&, int, const char*, const char*, const char*, char*) { return UNSUPPORTED; }
Status dnn_conv_grad_input(const ConvShape&, int, const char*, const char*, char*) { return UNSUPPORTED; }
Status dnn_conv_grad_weight(const ConvShape&, int, const char*, const char*, float*) { return UNSUPPORTED; }
}  // namespace mlcore_cpu

#else

#include <algorithm>
#include <cstring>

#include "alloc.hpp"
#include "pool.hpp"

namespace mlcore_cpu {
using namespace dnn;
namespace {

void repack(const Compiled& c, const memory::desc& from, const void* src, const memory::desc& to, void* dst) {
    OneThread guard;
    c.repack.execute(stream(), {{DNNL_ARG_FROM, wrap(from, src)}, {DNNL_ARG_TO, wrap(to, dst)}});
}

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

Shared conv_primitive(const ConvShape& s, i64 images, int dtype, bool bias, Pass pass) {
    Key key;
    key.add('C').add(static_cast<i64>(pass)).add(dtype).add(bias).add(images).add(s.c).add(s.o).add(s.groups);
    for (const i64* v : {s.in, s.kernel, s.out, s.stride, s.dilation, s.pad_lo, s.pad_hi}) key.add(spatial(s, v));
    return compiled(key, [&] {
        using tag = memory::format_tag;
        const tag layout = s.spatial == 1 ? tag::nwc : (s.spatial == 2 ? tag::nhwc : tag::ndhwc);
        const auto type = type_of(dtype);
        const memory::desc x(with(images, s.c, spatial(s, s.in)), type, layout);
        const memory::desc y(with(images, s.o, spatial(s, s.out)), type, layout);
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
        c.repack = pass == Pass::grad_weight ? reorder_between(c.weights, plain_weights(s, memory::data_type::f32))
                                             : reorder_between(plain_weights(s, type), c.weights);
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

// A group of images that one task works on, with the weights as its primitive wants them.
struct Packed {
    Shared primitive;
    std::unique_ptr<Scratch> memory;
    const char* weights;
};
Status pack(const ConvShape& s, i64 images, int dtype, bool bias, Pass pass, const char* w, Packed& out) {
    out.primitive = conv_primitive(s, images, dtype, bias, pass);
    const auto plain = plain_weights(s, type_of(dtype));
    out.weights = w;
    if (out.primitive->repack) {
        out.memory = std::make_unique<Scratch>(static_cast<i64>(out.primitive->weights.get_size()));
        if (out.memory->failed()) return NO_MEMORY;
        repack(*out.primitive, plain, w, out.primitive->weights, out.memory->get());
        out.weights = out.memory->get();
    }
    return OK;
}

Status conv_by_images(const ConvShape& s, int dtype, bool forward, const char* in, const char* w, const char* bias, char* out) try {
    const Volumes v(s);
    const int item = ITEMSIZE[dtype];
    const i64 images = std::max<i64>(1, std::min<i64>(ceil_div(s.n, 16), static_cast<i64>(4e8 / std::max(1.0, v.flops))));
    const i64 tasks = ceil_div(s.n, images), rest = s.n - (tasks - 1) * images;
    const Pass pass = forward ? Pass::forward : Pass::grad_input;
    Packed main, tail;
    Status status = pack(s, images, dtype, bias != nullptr, pass, w, main);
    if (status == OK && rest != images) status = pack(s, rest, dtype, bias != nullptr, pass, w, tail);
    if (status != OK) return status;
    const i64 in_bytes = (forward ? v.x : v.y) * item, out_bytes = (forward ? v.y : v.x) * item;
    std::atomic<bool> failed{false};
    status = parallel_for(tasks, [&](i64 task) {
        const Packed& p = task == tasks - 1 && rest != images ? tail : main;
        const Compiled& c = *p.primitive;
        const char* from = in + task * images * in_bytes;
        char* to = out + task * images * out_bytes;
        std::unordered_map<int, memory> args{{DNNL_ARG_WEIGHTS, wrap(c.weights, p.weights)}};
        args[forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_SRC] = wrap(c.src, forward ? from : to);
        args[forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST] = wrap(c.dst, forward ? to : from);
        if (bias) args[DNNL_ARG_BIAS] = wrap(c.bias, bias);
        execute(c, std::move(args), failed);
    });
    return failed ? NO_MEMORY : status;
} catch (const dnnl::error&) {
    return UNSUPPORTED;
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}

}  // namespace

Status dnn_conv_forward(const ConvShape& s, int dtype, const char* x, const char* w, const char* bias, char* y) {
    return conv_by_images(s, dtype, true, x, w, bias, y);
}
Status dnn_conv_grad_input(const ConvShape& s, int dtype, const char* g, const char* w, char* gx) {
    return conv_by_images(s, dtype, false, g, w, nullptr, gx);
}

Status dnn_conv_grad_weight(const ConvShape& s, int dtype, const char* g, const char* x, float* gw) try {
    const Volumes v(s);
    const int item = ITEMSIZE[dtype];
    // At most 8 parts, fewer where the weights are large: every part has a copy of their gradient.
    const i64 copies = std::max<i64>(2, (i64{24} << 20) / std::max<i64>(1, v.w * static_cast<i64>(sizeof(float))));
    const i64 wanted = std::max<i64>(1, std::min<i64>({8, copies, s.n, static_cast<i64>(v.flops * s.n / 1e7)}));
    const i64 images = std::max<i64>(1, std::min<i64>(ceil_div(s.n, wanted), static_cast<i64>(8e8 / std::max(1.0, v.flops))));
    const i64 tasks = ceil_div(s.n, images), rest = s.n - (tasks - 1) * images;
    const Shared main = conv_primitive(s, images, dtype, false, Pass::grad_weight);
    const Shared tail = rest == images ? main : conv_primitive(s, rest, dtype, false, Pass::grad_weight);
    const auto plain = plain_weights(s, memory::data_type::f32);
    const i64 bytes = v.w * static_cast<i64>(sizeof(float));
    Scratch partial(tasks > 1 ? tasks * bytes : 0);
    if (partial.failed()) return NO_MEMORY;
    std::atomic<bool> failed{false};
    Status status = parallel_for(tasks, [&](i64 task) {
        const Compiled& c = task == tasks - 1 ? *tail : *main;
        float* result = tasks > 1 ? partial.get<float>() + task * v.w : gw;
        Scratch blocked(!c.repack ? 0 : static_cast<i64>(c.weights.get_size()));
        if (blocked.failed()) {
            failed = true;
            return;
        }
        void* target = blocked.get() ? static_cast<void*>(blocked.get()) : result;
        execute(c, {{DNNL_ARG_SRC, wrap(c.src, x + task * images * v.x * item)},
                    {DNNL_ARG_DIFF_DST, wrap(c.dst, g + task * images * v.y * item)},
                    {DNNL_ARG_DIFF_WEIGHTS, wrap(c.weights, target)}}, failed);
        if (failed || target == result) return;
        try {
            repack(c, c.weights, target, plain, result);
        } catch (...) {
            failed = true;
        }
    });
    if (status != OK || failed) return failed ? NO_MEMORY : status;
    if (tasks > 1) {  // in the order of the images
        constexpr i64 CHUNK = 16 * 1024;
        status = parallel_for(ceil_div(v.w, CHUNK), [&](i64 chunk) {
            const i64 first = chunk * CHUNK, last = std::min(v.w, first + CHUNK);
            std::memcpy(gw + first, partial.get<float>() + first, (last - first) * sizeof(float));
            for (i64 task = 1; task < tasks; ++task) {
                const float* p = partial.get<float>() + task * v.w;
                for (i64 i = first; i < last; ++i) gw[i] += p[i];
            }
        });
    }
    return status;
} catch (const dnnl::error&) {
    return UNSUPPORTED;
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}

}  // namespace mlcore_cpu

#endif
