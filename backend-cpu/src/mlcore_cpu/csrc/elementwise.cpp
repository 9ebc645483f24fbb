#include "elementwise.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "alloc.hpp"
#include "pool.hpp"
#include "transpose.hpp"

namespace mlcore_cpu {
namespace {

constexpr i64 BLOCK = 1024;        // elements of a converted or gathered block: three fit in L1
constexpr i64 LONG_INNER = 96;     // inner runs from this length on are worth a loop call each
constexpr int MAX_IN = 3;
constexpr i64 STREAM_FROM = 32 << 20;  // bytes of a result that is written past the caches

// The operands as one loop nest over out's memory order, neighbouring axes merged where all allow it.
struct Nest {
    int n_in, nd;
    i64 shape[MAX_NDIM];
    i64 stride[MAX_IN][MAX_NDIM];  // bytes
    const char* data[MAX_IN];
    int dtype[MAX_IN], itemsize[MAX_IN];
    bool dense[MAX_IN];   // contiguous in out's order over the whole nest
    bool scalar[MAX_IN];  // one value for all of out
    char* out;
    int out_dtype, out_itemsize;
    i64 out_stride[MAX_NDIM];
    bool out_dense;
    i64 size;
    bool streamed;  // the result is too large for a cache to keep it until somebody reads it, and no operand's memory

    Nest(const View* const* in, int count, const View& o) : n_in(count), nd(0), out(o.data), out_dtype(o.dtype) {
        out_itemsize = ITEMSIZE[out_dtype];
        size = o.size();
        int order[MAX_NDIM], n = 0;
        for (int d = 0; d < o.ndim; ++d)
            if (o.shape[d] != 1) order[n++] = d;
        std::stable_sort(order, order + n, [&](int a, int b) { return std::abs(o.strides[a]) > std::abs(o.strides[b]); });
        for (int k = 0; k < n_in; ++k) {
            data[k] = in[k]->data;
            dtype[k] = in[k]->dtype;
            itemsize[k] = ITEMSIZE[dtype[k]];
        }
        for (int i = 0; i < n; ++i) {
            const int d = order[i];
            bool merge = nd > 0 && out_stride[nd - 1] == o.strides[d] * o.shape[d];
            for (int k = 0; merge && k < n_in; ++k) merge = stride[k][nd - 1] == in[k]->strides[d] * o.shape[d];
            const int at = merge ? nd - 1 : nd++;
            shape[at] = merge ? shape[at] * o.shape[d] : o.shape[d];
            out_stride[at] = o.strides[d];
            for (int k = 0; k < n_in; ++k) stride[k][at] = in[k]->strides[d];
        }
        if (nd == 0) {
            nd = 1;
            shape[0] = 1;
            out_stride[0] = out_itemsize;
            for (int k = 0; k < n_in; ++k) stride[k][0] = 0;
        }
        out_dense = is_dense(out_stride, out_itemsize);
        for (int k = 0; k < n_in; ++k) {
            dense[k] = is_dense(stride[k], itemsize[k]);
            scalar[k] = true;
            for (int d = 0; d < nd; ++d) scalar[k] &= stride[k][d] == 0;
        }
        streamed = out_dense && n_in < MAX_IN && size * out_itemsize >= STREAM_FROM;  // with three operands it did not pay
        for (int k = 0; k < n_in; ++k) streamed &= data[k] != out;
    }

    bool is_dense(const i64* strides, i64 expect) const {
        for (int d = nd - 1; d >= 0; --d) {
            if (strides[d] != expect) return false;
            expect *= shape[d];
        }
        return true;
    }
};

// Position in a nest: coordinates of a flat index.
struct Cursor {
    i64 at[MAX_NDIM];
    Cursor(const Nest& nest, i64 flat) {
        for (int d = nest.nd - 1; d >= 0; --d) {
            at[d] = flat % nest.shape[d];
            flat /= nest.shape[d];
        }
    }
    void advance(const Nest& nest, i64 by) {  // by <= what is left of the inner axis
        at[nest.nd - 1] += by;
        for (int d = nest.nd - 1; d > 0 && at[d] >= nest.shape[d]; --d) {
            at[d] = 0;
            ++at[d - 1];
        }
    }
    i64 offset(const Nest& nest, const i64* strides) const {
        i64 total = 0;
        for (int d = 0; d < nest.nd; ++d) total += at[d] * strides[d];
        return total;
    }
};

// Copies `n` elements of a strided operand, from the cursor on, into contiguous memory.
void gather_block(const Nest& nest, const char* base, const i64* strides, int itemsize, Cursor cursor, char* dst, i64 n) {
    const Table& t = table();
    const int k = log2_itemsize(itemsize), last = nest.nd - 1;
    while (n > 0) {
        const i64 run = std::min(n, nest.shape[last] - cursor.at[last]);
        const char* src = base + cursor.offset(nest, strides);
        if (strides[last] == itemsize) {
            std::memcpy(dst, src, run * itemsize);
        } else if (strides[last] == 0) {
            t.fill[k](src, dst, run);
        } else {
            t.gather[k](src, strides[last], dst, run);
        }
        dst += run * itemsize;
        n -= run;
        cursor.advance(nest, run);
    }
}
template <class T>
void scatter_run(char* dst, i64 stride, const char* src, i64 n) {
    for (i64 i = 0; i < n; ++i) std::memcpy(dst + i * stride, src + i * sizeof(T), sizeof(T));
}
void scatter_block(const Nest& nest, Cursor cursor, const char* src, i64 n) {
    const int last = nest.nd - 1;
    while (n > 0) {
        const i64 run = std::min(n, nest.shape[last] - cursor.at[last]);
        char* dst = nest.out + cursor.offset(nest, nest.out_stride);
        const i64 stride = nest.out_stride[last];
        switch (stride == nest.out_itemsize ? 0 : nest.out_itemsize) {
            case 1: scatter_run<std::uint8_t>(dst, stride, src, run); break;
            case 2: scatter_run<std::uint16_t>(dst, stride, src, run); break;
            case 4: scatter_run<std::uint32_t>(dst, stride, src, run); break;
            case 8: scatter_run<std::uint64_t>(dst, stride, src, run); break;
            case 16: scatter_run<char[16]>(dst, stride, src, run); break;
            default: std::memcpy(dst, src, run * nest.out_itemsize);
        }
        src += run * nest.out_itemsize;
        n -= run;
        cursor.advance(nest, run);
    }
}

struct alignas(64) Buffer {
    char bytes[BLOCK * 16];
};

// Whether every operand is, along the inner axis, contiguous or one value, and nothing is to be converted.
bool in_lines(const Nest& nest, const int* work_in, bool scalars) {
    const int last = nest.nd - 1;
    for (int k = 0; k < nest.n_in; ++k) {
        const i64 stride = nest.stride[k][last];
        if (nest.dtype[k] != work_in[k] || !(stride == nest.itemsize[k] || (stride == 0 && scalars))) return false;
    }
    return true;
}
// Such a nest of two axes: line by line, with no arithmetic but additions between the lines.
template <class Kernel>
void walk_lines(const Nest& nest, i64 begin, i64 end, Kernel&& kernel) {
    const i64 width = nest.shape[1];
    i64 row = begin / width, column = begin % width;
    const char *line[MAX_IN], *ptr[MAX_IN];
    bool single[MAX_IN];
    for (int k = 0; k < nest.n_in; ++k) {
        line[k] = nest.data[k] + row * nest.stride[k][0];
        single[k] = nest.stride[k][1] == 0;
    }
    for (i64 pos = begin; pos < end; column = 0) {
        const i64 n = std::min(width - column, end - pos);
        for (int k = 0; k < nest.n_in; ++k) {
            ptr[k] = line[k] + column * nest.stride[k][1];
            line[k] += nest.stride[k][0];
        }
        kernel(ptr, single, nest.out + pos * nest.out_itemsize, n);
        pos += n;
    }
}

// Walks [begin, end) of the nest in blocks. `kernel(ptr, is_scalar, y, n)` sees contiguous operands of dtype
// work_in[k], or single values, and writes contiguous results of dtype work_out.
template <class Kernel>
void walk(const Nest& nest, const int* work_in, int work_out, bool scalars, i64 begin, i64 end, Kernel&& kernel) {
    Buffer raw[MAX_IN], converted[MAX_IN], result;
    const Table& t = table();
    const int last = nest.nd - 1;
    const bool direct = nest.out_dense && work_out == nest.out_dtype && !nest.streamed;
    bool flat = true;  // no operand needs coordinates
    bool whole = direct;
    for (int k = 0; k < nest.n_in; ++k) {
        flat &= nest.dense[k] || nest.scalar[k];
        whole &= nest.dtype[k] == work_in[k] && (nest.dense[k] || (nest.scalar[k] && scalars));
    }
    flat &= nest.out_dense;
    const bool long_runs = nest.shape[last] >= LONG_INNER;
    if (!flat && long_runs && nest.nd == 2 && direct && in_lines(nest, work_in, scalars)) {
        walk_lines(nest, begin, end, kernel);
        return;
    }
    const char* ptr[MAX_IN];
    bool single[MAX_IN], ready[MAX_IN] = {};
    Cursor cursor(nest, begin);
    for (i64 pos = begin; pos < end;) {
        i64 n = whole ? end - pos : std::min(BLOCK, end - pos);
        if (!flat && long_runs) n = std::min(n, nest.shape[last] - cursor.at[last]);
        for (int k = 0; k < nest.n_in; ++k) {
            const i64* strides = nest.stride[k];
            if (ready[k]) continue;  // a converted scalar
            i64 count = n;
            single[k] = false;
            if (nest.dense[k]) {
                ptr[k] = nest.data[k] + pos * nest.itemsize[k];
            } else if (nest.scalar[k]) {
                ptr[k] = nest.data[k];
                single[k] = true;
                count = 1;
            } else if (long_runs && (strides[last] == nest.itemsize[k] || (strides[last] == 0 && scalars))) {
                ptr[k] = nest.data[k] + cursor.offset(nest, strides);
                single[k] = strides[last] == 0;
                if (single[k]) count = 1;
            } else {
                gather_block(nest, nest.data[k], strides, nest.itemsize[k], cursor, raw[k].bytes, n);
                ptr[k] = raw[k].bytes;
            }
            if (nest.dtype[k] != work_in[k]) {
                t.cast[nest.dtype[k]][work_in[k]](ptr[k], converted[k].bytes, count);
                ptr[k] = converted[k].bytes;
            }
            if (single[k] && !scalars) {  // the kernel wants full blocks
                const int lg = log2_itemsize(ITEMSIZE[work_in[k]]);
                char value[16];
                std::memcpy(value, ptr[k], ITEMSIZE[work_in[k]]);
                t.fill[lg](value, converted[k].bytes, nest.scalar[k] ? std::min(BLOCK, end - begin) : n);
                ptr[k] = converted[k].bytes;
            }
            ready[k] = nest.scalar[k];
        }
        char* y = direct ? nest.out + pos * nest.out_itemsize : result.bytes;
        kernel(ptr, single, y, n);
        if (!direct) {
            const char* from = y;
            if (work_out != nest.out_dtype) {
                char* to = nest.out_dense && !nest.streamed ? nest.out + pos * nest.out_itemsize : raw[0].bytes;
                t.cast[work_out][nest.out_dtype](y, to, n);
                from = to;
            }
            if (nest.streamed) t.stream(from, nest.out + pos * nest.out_itemsize, n * nest.out_itemsize);
            else if (!nest.out_dense) scatter_block(nest, cursor, from, n);
        }
        if (!flat) {
            for (i64 left = n; left > 0;) {
                const i64 run = std::min(left, nest.shape[last] - cursor.at[last]);
                cursor.advance(nest, run);
                left -= run;
            }
        }
        pos += n;
    }
}

constexpr i64 CHUNK = 32 * 1024;  // most elements per task
constexpr i64 LINE = 64;          // tasks begin on whole cache lines

// Elements per task: eight equal tasks at least, so that two, four or eight threads end together.
i64 chunk_of(i64 size) {
    const i64 tasks = ceil_div(ceil_div(size, CHUNK), 8) * 8;
    return ceil_div(ceil_div(size, tasks), LINE) * LINE;
}

template <class Kernel>
Status run(const Nest& nest, const int* work_in, int work_out, bool scalars, Kernel&& kernel) {
    if (nest.size == 0) return OK;
    if (nest.size < INLINE_BELOW) {
        walk(nest, work_in, work_out, scalars, 0, nest.size, kernel);
        return OK;
    }
    const i64 each = chunk_of(nest.size);
    return parallel_for(ceil_div(nest.size, each), [&](i64 i) {
        walk(nest, work_in, work_out, scalars, i * each, std::min(nest.size, (i + 1) * each), kernel);
        if (nest.streamed) std::atomic_thread_fence(std::memory_order_seq_cst);  // streamed stores wait for nothing else
    });
}

// An operand that the loop would meet across its memory order (a transposed one): copied by blocks into out's order
// first, which costs a pass over it instead of a cache line per element. Left as it is where there is no memory.
class Straight {
  public:
    Straight(const View& x, const View& out) : view_(x), memory_(across(x, out) ? x.size() * ITEMSIZE[x.dtype] : 0), status_(OK) {
        if (!memory_.get()) return;
        view_.data = memory_.get();
        for (int d = 0; d < x.ndim; ++d) view_.strides[d] = out.strides[d] / ITEMSIZE[out.dtype] * ITEMSIZE[x.dtype];
        status_ = run_copy(x, view_);
    }
    const View& operator*() const { return view_; }
    Status status() const { return status_; }

  private:
    static bool across(const View& x, const View& out) {
        if (out.size() < INLINE_BELOW) return false;
        int fastest = -1;
        for (int d = 0; d < out.ndim; ++d) {
            if (out.shape[d] == 1) continue;
            if (x.strides[d] == 0) return false;
            if (fastest < 0 || std::abs(out.strides[d]) <= std::abs(out.strides[fastest])) fastest = d;
        }
        return fastest >= 0 && std::abs(x.strides[fastest]) >= 64;
    }
    View view_;
    Scratch memory_;
    Status status_;
};

}  // namespace

Status run_unary(UnaryLoop loop, int work_in, int work_out, const View& x, const View& out) {
    const View* in[] = {&x};
    const Nest nest(in, 1, out);
    return run(nest, &work_in, work_out, false, [&](const char** p, const bool*, char* y, i64 n) { loop(p[0], y, n); });
}

Status run_binary(BinaryLoop loop, int work_in, int work_out, const View& a, const View& b, const View& out) {
    const Straight first(a, out), second(b, out);
    if (first.status() != OK || second.status() != OK) return INTERRUPTED;
    const View* in[] = {&*first, &*second};
    const int work[] = {work_in, work_in};
    const Nest nest(in, 2, out);
    return run(nest, work, work_out, true, [&](const char** p, const bool* single, char* y, i64 n) {
        if (single[0] && single[1]) {  // both broadcast along this run: one value, repeated
            const int lg = log2_itemsize(ITEMSIZE[work_out]);
            alignas(16) char value[16];
            loop(p[0], p[1], value, 1, 0);
            table().fill[lg](value, y, n);
        } else {
            loop(p[0], p[1], y, n, single[0] ? 1 : (single[1] ? 2 : 0));
        }
    });
}

Status run_where(const View& condition, const View& a, const View& b, const View& out) {
    const Straight which(condition, out), first(a, out), second(b, out);
    if (which.status() != OK || first.status() != OK || second.status() != OK) return INTERRUPTED;
    const View* in[] = {&*which, &*first, &*second};
    const int work[] = {condition.dtype, a.dtype, b.dtype};
    const Nest nest(in, 3, out);
    const auto select = table().select[log2_itemsize(ITEMSIZE[out.dtype])];
    return run(nest, work, out.dtype, false, [&](const char** p, const bool*, char* y, i64 n) {
        select(reinterpret_cast<const unsigned char*>(p[0]), p[1], p[2], y, n);
    });
}

Status run_copy(const View& x, const View& out) {
    Status transposed;
    if (run_transpose(x, out, transposed)) return transposed;
    const View* in[] = {&x};
    const Nest nest(in, 1, out);
    const int itemsize = ITEMSIZE[out.dtype];
    const UnaryLoop convert = x.dtype == out.dtype ? nullptr : table().cast[x.dtype][out.dtype];
    return run(nest, &x.dtype, out.dtype, false, [&](const char** p, const bool*, char* y, i64 n) {
        if (convert) convert(p[0], y, n);
        else std::memcpy(y, p[0], n * itemsize);
    });
}

}  // namespace mlcore_cpu
