#include "dnn.hpp"

#ifndef MLCORE_ONEDNN

namespace mlcore_cpu {
bool dnn_available() { return false; }
const char* dnn_version() { return ""; }
Status dnn_matmul(const View&, const View&, const char*, const View&) { return UNSUPPORTED; }
Status dnn_conv_forward(const ConvShape&, int, const char*, const char*, const char*, char*) { return UNSUPPORTED; }
Status dnn_conv_grad_input(const ConvShape&, int, const char*, const char*, char*) { return UNSUPPORTED; }
Status dnn_conv_grad_weight(const ConvShape&, int, const char*, const char*, float*) { return UNSUPPORTED; }
}  // namespace mlcore_cpu

#else

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include <oneapi/dnnl/dnnl.hpp>
#include <pthread.h>

#include "alloc.hpp"
#include "elementwise.hpp"
#include "pool.hpp"

extern "C" {
int omp_get_max_threads(void);
void omp_set_num_threads(int);
}

namespace mlcore_cpu {
namespace {

using dnnl::memory;
using Dims = memory::dims;

// oneDNN sees one OpenMP thread while we call it; the caller's setting is put back.
class OneThread {
  public:
    OneThread() : before_(omp_get_max_threads()) {
        if (before_ != 1) omp_set_num_threads(1);
    }
    ~OneThread() {
        if (before_ != 1) omp_set_num_threads(before_);
    }

  private:
    int before_;
};

dnnl::engine& engine() {
    static auto* one = new dnnl::engine(dnnl::engine::kind::cpu, 0);
    return *one;
}
dnnl::stream& stream() {
    thread_local dnnl::stream one(engine());
    return one;
}

memory::data_type type_of(int dtype) { return dtype == BF16 ? memory::data_type::bf16 : memory::data_type::f32; }

// A compiled primitive and the layouts it wants.
struct Compiled {
    dnnl::primitive primitive;
    memory::desc src, weights, bias, dst, scratch;
    dnnl::primitive repack;  // convolutions: between plain weights and `weights`; empty where they are the same
};
using Shared = std::shared_ptr<const Compiled>;

std::mutex cache_mutex;
std::unordered_map<std::string, Shared>& cache() {
    static auto* one = new std::unordered_map<std::string, Shared>;
    return *one;
}
struct ForkHandler {  // no fork while a primitive is being made: oneDNN's own locks stay free too
    ForkHandler() {
        pthread_atfork([] { cache_mutex.lock(); }, [] { cache_mutex.unlock(); }, [] { cache_mutex.unlock(); });
    }
} fork_handler;

class Key {
  public:
    Key& add(i64 v) {
        text_.append(reinterpret_cast<const char*>(&v), sizeof v);
        return *this;
    }
    Key& add(const Dims& dims) {
        add(static_cast<i64>(dims.size()));
        for (auto d : dims) add(d);
        return *this;
    }
    const std::string& text() const { return text_; }

  private:
    std::string text_;
};

template <class Make>
Shared compiled(const Key& key, Make&& make) {
    std::lock_guard<std::mutex> lock(cache_mutex);
    auto found = cache().find(key.text());
    if (found != cache().end()) return found->second;
    OneThread guard;
    auto made = std::make_shared<Compiled>(make());
    if (cache().size() > 2048) cache().clear();
    cache()[key.text()] = made;
    return made;
}

dnnl::primitive_attr attributes() {
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // library scratchpads are not thread-safe
    return attr;
}

memory wrap(const memory::desc& desc, const void* data) { return memory(desc, engine(), const_cast<void*>(data)); }

// Runs the primitive on this thread. Errors inside tasks are kept in `failed`.
void execute(const Compiled& c, std::unordered_map<int, memory> args, std::atomic<bool>& failed) {
    try {
        OneThread guard;
        Scratch scratch(static_cast<i64>(c.scratch.get_size()));
        if (scratch.failed()) {
            failed = true;
            return;
        }
        if (c.scratch.get_size()) args[DNNL_ARG_SCRATCHPAD] = wrap(c.scratch, scratch.get());
        c.primitive.execute(stream(), args);
    } catch (...) {
        failed = true;
    }
}

// Made with its primitive, under the cache's lock, like everything that takes locks inside oneDNN.
dnnl::primitive reorder_between(const memory::desc& from, const memory::desc& to) {
    if (from == to) return dnnl::primitive();
    return dnnl::reorder(dnnl::reorder::primitive_desc(engine(), from, engine(), to));
}
void repack(const Compiled& c, const memory::desc& from, const void* src, const memory::desc& to, void* dst) {
    OneThread guard;
    c.repack.execute(stream(), {{DNNL_ARG_FROM, wrap(from, src)}, {DNNL_ARG_TO, wrap(to, dst)}});
}

// ---- matmul ---------------------------------------------------------------------------------------------------

struct Matrix {
    i64 rows, cols, row_stride, col_stride;  // elements
};
Matrix matrix_of(const View& v) {
    const int n = v.ndim, item = ITEMSIZE[v.dtype];
    Matrix m{v.shape[n - 2], v.shape[n - 1], v.strides[n - 2] / item, v.strides[n - 1] / item};
    if (m.rows == 1 && m.cols == 1) m.row_stride = m.col_stride = 1;
    else if (m.rows == 1) m.row_stride = m.col_stride == 1 ? m.cols : 1;
    else if (m.cols == 1) m.col_stride = m.row_stride == 1 ? m.rows : 1;
    return m;
}

Shared matmul_primitive(int dtype, const Matrix& a, const Matrix& b, i64 ldc, bool bias) {
    Key key;
    key.add('M').add(dtype).add(a.rows).add(a.cols).add(b.cols).add(a.row_stride).add(a.col_stride);
    key.add(b.row_stride).add(b.col_stride).add(ldc).add(bias);
    return compiled(key, [&] {
        Compiled c;
        const auto type = type_of(dtype);
        c.src = memory::desc({a.rows, a.cols}, type, Dims{a.row_stride, a.col_stride});
        c.weights = memory::desc({b.rows, b.cols}, type, Dims{b.row_stride, b.col_stride});
        c.dst = memory::desc({a.rows, b.cols}, type, Dims{ldc, 1});
        if (bias) c.bias = memory::desc({1, b.cols}, type, Dims{b.cols, 1});
        const auto attr = attributes();
        auto pd = bias ? dnnl::matmul::primitive_desc(engine(), c.src, c.weights, c.bias, c.dst, attr)
                       : dnnl::matmul::primitive_desc(engine(), c.src, c.weights, c.dst, attr);
        c.scratch = pd.scratchpad_desc();
        c.primitive = dnnl::matmul(pd);
        return c;
    });
}

// How many pieces an axis of `n` is cut into, and their length: a multiple of `step`, from the shape only.
i64 slice_length(i64 n, i64 pieces, i64 step) {
    const i64 length = ceil_div(ceil_div(n, std::max<i64>(1, pieces)), step) * step;
    return std::min(std::max<i64>(length, step), n);
}

}  // namespace

bool dnn_available() { return true; }
const char* dnn_version() {
    static const std::string text = [] {
        const auto* v = dnnl_version();
        return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
    }();
    return text.c_str();
}

Status dnn_matmul(const View& av, const View& bv, const char* bias, const View& out) try {
    const int item = ITEMSIZE[out.dtype];
    Matrix a = matrix_of(av), b = matrix_of(bv);
    i64 batch = 1;
    bool fold = a.col_stride == 1 && out.ndim > 2;  // (..., M, K) @ (K, N) is one matrix product
    i64 expect = a.row_stride * item * a.rows;
    for (int d = out.ndim - 3; d >= 0; --d) {
        batch *= out.shape[d];
        if (out.shape[d] == 1) continue;
        fold &= bv.strides[d] == 0 && av.strides[d] == expect;
        expect *= out.shape[d];
    }
    if (fold) {
        a.rows *= batch;
        batch = 1;
    }
    const i64 M = a.rows, N = b.cols, K = a.cols;
    // Slices: at least 8 MFLOP where there is as much, at most 500 (Ctrl-C), along the longer side.
    const double flops = 2.0 * M * N * K;
    i64 pieces = std::max<i64>(std::min<i64>(8, static_cast<i64>(flops / 8e6)), static_cast<i64>(flops / 5e8));
    if (batch >= 16 && flops < 5e8) pieces = 1;
    const bool by_rows = M >= N || M >= 512;
    const i64 length = by_rows ? slice_length(M, pieces, 16) : slice_length(N, pieces, 64);
    const i64 slices = ceil_div(by_rows ? M : N, length);
    const i64 rest = (by_rows ? M : N) - (slices - 1) * length;
    auto primitive_for = [&](i64 n) {
        Matrix x = a, y = b;
        (by_rows ? x.rows : y.cols) = n;
        return matmul_primitive(out.dtype, x, y, N, bias != nullptr);
    };
    const Shared main = primitive_for(length), tail = rest == length ? main : primitive_for(rest);
    // Batches of little work share a task.
    const i64 together = std::max<i64>(1, std::min<i64>(batch, static_cast<i64>(4e6 / std::max(1.0, flops))));
    std::atomic<bool> failed{false};
    auto one = [&](i64 index) {
        i64 at = index / slices;
        const i64 slice = index % slices;
        i64 oa = 0, ob = 0;
        const i64 oc = at * M * N * item;
        if (batch > 1) {
            for (int d = out.ndim - 3; d >= 0; --d) {
                const i64 i = at % out.shape[d];
                at /= out.shape[d];
                oa += i * av.strides[d];
                ob += i * bv.strides[d];
            }
        }
        const i64 start = slice * length;
        const Compiled& c = slice == slices - 1 ? *tail : *main;
        const char* pa = av.data + oa + (by_rows ? start * a.row_stride * item : 0);
        const char* pb = bv.data + ob + (by_rows ? 0 : start * b.col_stride * item);
        char* pc = out.data + oc + (by_rows ? start * N : start) * item;
        std::unordered_map<int, memory> args{{DNNL_ARG_SRC, wrap(c.src, pa)}, {DNNL_ARG_WEIGHTS, wrap(c.weights, pb)}, {DNNL_ARG_DST, wrap(c.dst, pc)}};
        if (bias) args[DNNL_ARG_BIAS] = wrap(c.bias, bias + (by_rows ? 0 : start * item));
        execute(c, std::move(args), failed);
    };
    const i64 total = batch * slices;
    Status status = OK;
    if (total * flops / slices < 4e6) {
        for (i64 i = 0; i < total; ++i) one(i);
    } else {
        status = parallel_for(ceil_div(total, together), [&](i64 task) {
            for (i64 i = task * together; i < std::min(total, (task + 1) * together); ++i) one(i);
        });
    }
    return failed ? NO_MEMORY : status;
} catch (const dnnl::error&) {
    return UNSUPPORTED;
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}

// ---- convolution ----------------------------------------------------------------------------------------------

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
