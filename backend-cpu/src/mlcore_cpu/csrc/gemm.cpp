// Cuts matrix products into blocks for one thread each. The cuts depend on the shape only.
#include "gemm.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "alloc.hpp"
#include "convolution.hpp"
#include "pool.hpp"
#include "tables.hpp"

namespace mlcore_cpu {
namespace {

constexpr double SERIAL_BELOW = 1.5e6;        // operations (or 4 bytes moved for one): not worth waking a thread
constexpr double TASK = 2e6;                  // operations of a task, where there are many
constexpr i64 MOST_TASKS = 64;
constexpr i64 PACKED_BYTES = 16 << 20;        // of the second operand at a time
constexpr i64 STACK = 16 * 1024;
constexpr i64 SMALL = 8192;                   // multiplications of a product that takes the shortest way

struct Operand {
    const char* data;
    i64 rows, cols, rs, cs;  // strides in elements
};

Operand operand_of(const View& v) {
    const int n = v.ndim, shift = __builtin_ctz(static_cast<unsigned>(ITEMSIZE[v.dtype]));  // they are multiples of it
    Operand m{v.data, v.shape[n - 2], v.shape[n - 1], v.strides[n - 2] >> shift, v.strides[n - 1] >> shift};
    if (m.cols == 1 && m.rs != 1) m.cs = 1;  // the stride of an axis of length one is free: take what packing likes
    if (m.rows == 1 && m.cs != 1) m.rs = 1;
    return m;
}

// One product of the batch, whatever its operands' dtype.
struct Product {
    const GemmKernel* kernel;
    Operand a, b;
    char* c;            // C order, of dtype `out`
    int out;
    const char* bias;   // b.cols values of the accumulator's dtype, or null
    i64 item, acc_item; // bytes
    UnaryLoop narrow;   // from the accumulator to `out`; null where they are one
    const Finish* finish;  // applied by `block`, or null

    double operations() const { return 2.0 * a.rows * a.cols * b.cols; }
};

// Memory that is on the stack when little is needed.
class Room {
  public:
    explicit Room(i64 bytes) : scratch_(bytes > STACK ? bytes : 0) {}
    bool failed() const { return scratch_.failed(); }
    char* get() { return scratch_.get() ? scratch_.get() : stack_; }

  private:
    alignas(64) char stack_[STACK];
    Scratch scratch_;
};

// c[rows, columns] of one product from the k range [k0, k1); `to` (dense, accumulator's dtype) instead of c if given.
bool block(const Product& p, i64 m0, i64 m1, i64 n0, i64 n1, i64 k0, i64 k1, const char* packed_b, char* to) {
    const i64 m = m1 - m0, n = n1 - n0, k = k1 - k0;
    const i64 for_a = std::min<i64>({GEMM_SCRATCH, (m + 16) * std::min<i64>(k, 256) * p.acc_item});
    const bool aside = p.narrow && !to;
    Room scratch(for_a), result(aside ? m * n * p.acc_item : 0);
    if (scratch.failed() || result.failed()) return false;
    GemmBlock g{};
    g.m = m, g.n = n, g.k = k;
    g.a = p.a.data + (m0 * p.a.rs + k0 * p.a.cs) * p.item, g.a_rs = p.a.rs, g.a_cs = p.a.cs;
    g.b = p.b.data + (k0 * p.b.rs + n0 * p.b.cs) * p.item, g.b_rs = p.b.rs, g.b_cs = p.b.cs;
    g.c = aside ? result.get() : to ? to : p.c + (m0 * p.b.cols + n0) * p.acc_item;
    g.c_rs = to || aside ? n : p.b.cols;
    g.init = p.bias && !to ? p.bias + n0 * p.acc_item : nullptr;
    g.packed_b = packed_b;
    g.scratch = scratch.get();
    const Finish finish = p.finish && !to ? p.finish->from(n0) : Finish{};
    if (p.finish && !to) g.finish = &finish;
    p.kernel->block(g);
    if (aside) {
        const i64 size = ITEMSIZE[p.out];
        for (i64 i = 0; i < m; ++i)
            p.narrow(result.get() + i * n * p.acc_item, p.c + ((m0 + i) * p.b.cols + n0) * size, n);
    }
    return true;
}

i64 power_of_two(double at_most) {
    i64 n = 1;
    while (2 * n <= at_most && n < MOST_TASKS) n *= 2;
    return n;
}

// How a product is cut: into rows x columns x parts of k.
struct Cut {
    i64 rows, columns, depth;  // lengths of the pieces
    i64 m, n, k;               // how many
    bool pack_b;
};
Cut cut(const Product& p, i64 tasks) {
    const i64 M = p.a.rows, N = p.b.cols, K = p.a.cols, wide = p.kernel->columns;
    Cut c{M, N, K, 1, 1, 1, false};
    // Numbers of pieces are powers of two: an odd one leaves a thread without work at the end.
    auto columns = [&](i64 pieces) {
        pieces = power_of_two(static_cast<double>(pieces));
        c.columns = std::min(N, ceil_div(ceil_div(N, pieces), wide) * wide);
        c.n = ceil_div(N, c.columns);
    };
    auto rows = [&](i64 pieces) {
        pieces = power_of_two(static_cast<double>(pieces));
        c.rows = ceil_div(M, pieces);
        c.m = ceil_div(M, c.rows);
    };
    if (M <= 256 && N >= 4 * wide && tasks > 1) {  // slices of columns pack their part of b once, and share a
        columns(std::min(tasks, N / (2 * wide)));
        rows(std::max<i64>(1, std::min(tasks / c.n, M / 128)));
    } else if (tasks > 1) {
        rows(std::max<i64>(1, std::min(tasks, M / 48)));
        if (c.m < tasks / 2) columns(std::max<i64>(1, std::min(tasks / c.m, N / (2 * wide))));
    }
    if (c.rows > 256 && tasks > 1) {
        c.rows = ceil_div(M, 2 * ceil_div(M, 512));
        c.m = ceil_div(M, c.rows);
    }
    if (c.m * c.n < tasks / 2 && K >= 1024) {
        c.k = std::min(tasks / (c.m * c.n), K / 512);
        c.depth = ceil_div(ceil_div(K, c.k), 16) * 16;
        c.k = ceil_div(K, c.depth);
    }
    c.pack_b = c.m > 1 && c.k == 1 && N >= wide;
    return c;
}

// Sums of parts of k are put together in their order.
Status put_together(const Product& p, const Cut& c, const char* parts) {
    const i64 size = p.a.rows * p.b.cols, N = p.b.cols, bytes = size * p.acc_item;
    auto sum = [&](auto zero, i64 first, i64 last) {
        using T = decltype(zero);
        T row[256];
        for (i64 at = first; at < last;) {
            const i64 n = std::min<i64>({256, last - at, N - at % N});
            const T* bias = p.bias ? reinterpret_cast<const T*>(p.bias) + at % N : nullptr;
            for (i64 i = 0; i < n; ++i) row[i] = bias ? bias[i] : T(0);
            for (i64 k = 0; k < c.k; ++k) {
                const T* part = reinterpret_cast<const T*>(parts + k * bytes) + at;
                for (i64 i = 0; i < n; ++i) row[i] += part[i];
            }
            if (p.narrow) p.narrow(row, p.c + at * ITEMSIZE[p.out], n);
            else std::memcpy(p.c + at * p.acc_item, row, n * sizeof(T));
            at += n;
        }
    };
    constexpr i64 CHUNK = 16 * 1024;
    return parallel_for(ceil_div(size, CHUNK), [&](i64 i) {
        const i64 first = i * CHUNK, last = std::min(size, first + CHUNK);
        switch (p.kernel->acc) {
            case F64: sum(0.0, first, last); break;
            case F32: sum(0.0f, first, last); break;
            case I64: sum(std::int64_t{0}, first, last); break;
            default: sum(std::int32_t{0}, first, last);
        }
    });
}

// A large product: all threads on it.
Status large(const Product& p, const Cut& c) {
    std::atomic<bool> failed{false};
    const i64 M = p.a.rows, N = p.b.cols, K = p.a.cols;
    Scratch parts(c.k > 1 ? c.k * M * N * p.acc_item : 0);
    if (parts.failed()) return NO_MEMORY;
    Status status = OK;
    if (!c.pack_b) {
        status = parallel_for(c.m * c.n * c.k, [&](i64 task) {
            const i64 k = task % c.k, n = task / c.k % c.n, m = task / c.k / c.n;
            const i64 m0 = m * c.rows, n0 = n * c.columns, k0 = k * c.depth;
            const i64 m1 = std::min(M, m0 + c.rows), n1 = std::min(N, n0 + c.columns), k1 = std::min(K, k0 + c.depth);
            if (c.k == 1) {
                if (!block(p, m0, m1, n0, n1, k0, k1, nullptr, nullptr)) failed = true;
                return;
            }
            char* part = parts.get() + k * M * N * p.acc_item;
            if (c.n == 1) {
                if (!block(p, m0, m1, n0, n1, k0, k1, nullptr, part + m0 * N * p.acc_item)) failed = true;
                return;
            }
            Room dense((m1 - m0) * (n1 - n0) * p.acc_item);
            if (dense.failed() || !block(p, m0, m1, n0, n1, k0, k1, nullptr, dense.get())) {
                failed = true;
                return;
            }
            const i64 bytes = (n1 - n0) * p.acc_item;
            for (i64 i = m0; i < m1; ++i) std::memcpy(part + (i * N + n0) * p.acc_item, dense.get() + (i - m0) * bytes, bytes);
        });
        if (status == OK && !failed && c.k > 1) status = put_together(p, c, parts.get());
        return failed ? NO_MEMORY : status;
    }
    // b is packed by all, as many columns at a time as the memory for it holds.
    const i64 wide = p.kernel->columns;
    const i64 span = std::min(N, std::max<i64>(wide, PACKED_BYTES / p.kernel->packed_bytes(K, wide) * wide));
    Scratch packed(p.kernel->packed_bytes(K, span));
    if (packed.failed()) return NO_MEMORY;
    for (i64 from = 0; from < N && status == OK && !failed; from += span) {
        const i64 width = std::min(span, N - from);
        GemmBlock all{};
        all.n = width, all.k = K, all.b_rs = p.b.rs, all.b_cs = p.b.cs, all.b = p.b.data + from * p.b.cs * p.item;
        const i64 step = std::max<i64>(wide, 64 * 1024 / std::max<i64>(1, K) / wide * wide);
        status = parallel_for(ceil_div(width, step), [&](i64 i) {
            p.kernel->pack_b(all, i * step, std::min(width, (i + 1) * step), packed.get());
        });
        if (status != OK) break;
        status = parallel_for(c.m, [&](i64 m) {
            if (!block(p, m * c.rows, std::min(M, (m + 1) * c.rows), from, from + width, 0, K, packed.get(), nullptr)) failed = true;
        });
    }
    return failed ? NO_MEMORY : status;
}

// Products with few rows or few columns need no packing: every element of the large operand is used a few times only.
enum class Thin { no, dots, axpys };

// `p` as few rows of a times b; with few columns instead, the operands change places. `turned` says so.
Thin thin(const Product& p, bool& turned) {
    if (!p.kernel->dots) return Thin::no;
    const i64 M = p.a.rows, N = p.b.cols, wide = p.kernel->columns;
    turned = M > N;
    const i64 few = turned ? N : M;
    const i64 few_cs = turned ? p.b.rs : p.a.cs, large_along_k = turned ? p.a.cs : p.b.rs, large_across = turned ? p.a.rs : p.b.cs;
    if (few <= 8 && few_cs == 1 && large_along_k == 1 && p.a.cols >= 2 * wide) return Thin::dots;
    if (few <= 4 && large_across == 1 && (turned ? M : N) >= 4 * wide && !(turned && (N > 1 || p.bias))) return Thin::axpys;
    return Thin::no;
}
// The columns (turned: rows) [first, last) of c, from the k range [k0, k1); into `to` (all of c) if given, without bias.
void run_thin(const Product& p, Thin how, bool turned, i64 first, i64 last, i64 k0, i64 k1, char* to) {
    const i64 M = p.a.rows, N = p.b.cols, K = k1 - k0;
    char* c = to ? to : p.c;
    const char* bias = to ? nullptr : p.bias;
    const char *a = p.a.data + k0 * p.a.cs * p.item, *b = p.b.data + k0 * p.b.rs * p.item;
    if (turned) {
        a += first * p.a.rs * p.item, c += first * N * p.item;
        if (how == Thin::dots) p.kernel->dots(N, last - first, K, b, p.b.cs, a, p.a.rs, c, 1, N, bias, 1, 0);
        else p.kernel->axpys(1, last - first, K, b, p.b.cs, p.b.rs, a, p.a.cs, c, N, nullptr, 0);
    } else {
        b += first * p.b.cs * p.item, c += first * p.item;
        if (bias) bias += first * p.item;
        if (how == Thin::dots) p.kernel->dots(M, last - first, K, a, p.a.rs, b, p.b.cs, c, N, 1, bias, 0, 1);
        else p.kernel->axpys(M, last - first, K, a, p.a.rs, p.a.cs, b, p.b.rs, c, N, bias, 0);
    }
}

// A large one: pieces of its long side, and of k where that does not give enough.
Status large_thin(const Product& p, Thin how, bool turned, i64 tasks) {
    const i64 n = turned ? p.a.rows : p.b.cols, least = how == Thin::dots ? 8 : 1024;
    Cut c{p.a.rows, p.b.cols, p.a.cols, 1, 1, 1, false};
    i64 length = std::min(n, ceil_div(ceil_div(n, tasks), least) * least);
    const i64 pieces = ceil_div(n, length);
    if (pieces < tasks / 2 && c.depth >= 1024) {
        c.k = std::min(tasks / pieces, c.depth / 512);
        c.depth = ceil_div(ceil_div(c.depth, c.k), 64) * 64;
        c.k = ceil_div(p.a.cols, c.depth);
    }
    const i64 bytes = p.a.rows * p.b.cols * p.item;
    Scratch parts(c.k > 1 ? c.k * bytes : 0);
    if (parts.failed()) return NO_MEMORY;
    const Status status = parallel_for(pieces * c.k, [&](i64 task) {
        const i64 k = task % c.k, first = task / c.k * length;
        run_thin(p, how, turned, first, std::min(n, first + length), k * c.depth, std::min(p.a.cols, (k + 1) * c.depth),
                 c.k > 1 ? parts.get() + k * bytes : nullptr);
    });
    return status == OK && c.k > 1 ? put_together(p, c, parts.get()) : status;
}

// Whether a product takes the shortest way. Many columns that lie apart make dot products with few rows of a instead.
bool is_small(const GemmKernel* kernel, i64 M, i64 N, i64 K, i64 a_cs, i64 b_cs) {
    if (!kernel->small || M > SMALL || N > SMALL || K > 256 || M * N * K > SMALL) return false;
    return b_cs == 1 || K < 2 * kernel->columns || (a_cs != 1 && M > 1);
}

// One product on this thread.
bool whole(const Product& p) {
    if (!p.narrow && !p.finish && is_small(p.kernel, p.a.rows, p.b.cols, p.a.cols, p.a.cs, p.b.cs)) {
        p.kernel->small(p.a.rows, p.b.cols, p.a.cols, p.a.data, p.a.rs, p.a.cs, p.b.data, p.b.rs, p.b.cs, p.c, p.bias);
        return true;
    }
    bool turned;
    const Thin how = thin(p, turned);
    if (how != Thin::no) {
        run_thin(p, how, turned, 0, turned ? p.a.rows : p.b.cols, 0, p.a.cols, nullptr);
        return true;
    }
    return block(p, 0, p.a.rows, 0, p.b.cols, 0, p.a.cols, nullptr, nullptr);
}

// Operations, or what moving the operands costs where that is more.
double work_of(const Product& p) {
    const double moved = static_cast<double>(p.a.rows * p.a.cols + p.a.cols * p.b.cols + p.a.rows * p.b.cols) * p.item;
    return std::max(p.operations(), 4 * moved);
}

}  // namespace

Status run_matmul(const View& av, const View& bv, const View* bias, const View& out, const Finish* finish) {
    Product p{};
    p.kernel = table().gemm->of[av.dtype];
    p.item = ITEMSIZE[av.dtype], p.acc_item = ITEMSIZE[p.kernel->acc];
    p.out = out.dtype, p.c = out.data;
    p.a = operand_of(av), p.b = operand_of(bv);
    const bool same = p.out == p.kernel->acc || (p.out == U32 && p.kernel->acc == I32) || (p.out == U64 && p.kernel->acc == I64);
    p.narrow = same ? nullptr : table().cast[p.kernel->acc][p.out];
    Room wide(bias && !(same && bias->contiguous()) ? p.b.cols * p.acc_item : 0);
    if (wide.failed()) return NO_MEMORY;
    if (bias && same && bias->contiguous()) {
        p.bias = bias->data;
    } else if (bias) {
        UnaryLoop convert = table().cast[bias->dtype][p.kernel->acc];
        for (i64 j = 0; j < p.b.cols; ++j) convert(bias->data + j * bias->strides[0], wide.get() + j * p.acc_item, 1);
        p.bias = wide.get();
    }
    i64 batch = 1;
    if (out.ndim > 2) {  // (..., M, K) @ (K, N) is one product
        bool fold = true;
        i64 expect = av.strides[out.ndim - 2] * p.a.rows;
        for (int d = out.ndim - 3; d >= 0; --d) {
            batch *= out.shape[d];
            if (out.shape[d] == 1) continue;
            fold &= bv.strides[d] == 0 && (p.a.rows == 1 && batch == out.shape[d] ? true : av.strides[d] == expect);
            if (p.a.rows == 1 && batch == out.shape[d]) expect = av.strides[d];
            expect *= out.shape[d];
        }
        if (fold && batch > 1) {
            if (p.a.rows == 1) {
                for (int d = out.ndim - 3; d >= 0; --d)
                    if (out.shape[d] != 1) {
                        p.a.rs = av.strides[d] / p.item;
                        break;
                    }
            }
            p.a.rows *= batch;
            batch = 1;
        }
    }
    const double work = work_of(p);
    if (finish) {  // where a piece of the result is not made at once, a pass of its own follows
        bool turned;
        const bool serial = work < SERIAL_BELOW;
        const bool small = is_small(p.kernel, p.a.rows, p.b.cols, p.a.cols, p.a.cs, p.b.cs);
        if (!small && thin(p, turned) == Thin::no && (serial || cut(p, power_of_two(work / TASK)).k == 1)) {
            p.finish = finish;
        } else {
            const Status status = run_matmul(av, bv, bias, out);
            return status == OK ? run_finish(*finish, reinterpret_cast<float*>(out.data), p.a.rows, p.b.cols) : status;
        }
    }
    if (batch == 1 && work < SERIAL_BELOW) return whole(p) ? OK : NO_MEMORY;
    if (batch == 1) {
        bool turned;
        const Thin how = thin(p, turned);
        if (how != Thin::no) return large_thin(p, how, turned, power_of_two(work / TASK));
        return large(p, cut(p, power_of_two(work / TASK)));
    }
    auto nth = [&](i64 index) {
        Product one = p;
        one.c = p.c + index * p.a.rows * p.b.cols * ITEMSIZE[p.out];
        for (int d = out.ndim - 3; d >= 0; --d) {
            const i64 i = index % out.shape[d];
            index /= out.shape[d];
            one.a.data += i * av.strides[d];
            one.b.data += i * bv.strides[d];
        }
        return one;
    };
    if (work >= 64 * TASK || (batch < 8 && work >= 4 * TASK)) {
        Status status = OK;
        const Cut how = cut(p, power_of_two(work / TASK));
        for (i64 i = 0; i < batch && status == OK; ++i) status = large(nth(i), how);
        return status;
    }
    std::atomic<bool> failed{false};
    const i64 together = std::max<i64>(1, static_cast<i64>(TASK / work));
    auto task = [&](i64 i) {
        for (i64 at = i * together; at < std::min(batch, (i + 1) * together); ++at)
            if (!whole(nth(at))) failed = true;
    };
    Status status = OK;
    if (work * batch < SERIAL_BELOW) {
        for (i64 i = 0; i < ceil_div(batch, together); ++i) task(i);
    } else {
        status = parallel_for(ceil_div(batch, together), task);
    }
    return failed ? NO_MEMORY : status;
}

bool run_small_matmul(int dtype, i64 m, i64 n, i64 k, const char* a, i64 a_rs, i64 a_cs, const char* b, i64 b_rs, i64 b_cs,
                      const char* bias, char* out) {
    const GemmKernel* kernel = table().gemm->of[dtype];
    if (!kernel->small || m > SMALL || n > SMALL || n < 1) return false;
    const int shift = __builtin_ctz(static_cast<unsigned>(ITEMSIZE[dtype]));
    if ((a_rs | a_cs | b_rs | b_cs) & ((1 << shift) - 1)) return false;
    a_rs >>= shift, a_cs >>= shift, b_rs >>= shift, b_cs >>= shift;
    if (k == 1) a_cs = b_rs = 1;  // the stride of an axis of length one is free
    if (n == 1) b_cs = 1;
    if (m <= 8 && a_cs == 1 && b_rs == 1 && k >= 2 * kernel->columns && m * n * k <= SMALL) {
        kernel->dots(m, n, k, a, a_rs, b, b_cs, out, n, 1, bias, 0, 1);
        return true;
    }
    if (!is_small(kernel, m, n, k, a_cs, b_cs)) return false;
    kernel->small(m, n, k, a, a_rs, a_cs, b, b_rs, b_cs, out, bias);
    return true;
}

}  // namespace mlcore_cpu
