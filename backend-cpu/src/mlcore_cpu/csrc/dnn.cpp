// Matrix products.
#include "dnn.hpp"

#include "dnn_common.hpp"

#ifndef MLCORE_ONEDNN

namespace mlcore_cpu {
Status dnn_matmul(const View&, const View&, const char*, const View&) { return UNSUPPORTED; }
}  // namespace mlcore_cpu

#else

#include <algorithm>

#include "pool.hpp"

namespace mlcore_cpu {
using namespace dnn;
namespace {

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

}  // namespace mlcore_cpu

#endif
