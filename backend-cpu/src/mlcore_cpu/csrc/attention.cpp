// Drivers of attention: heads and blocks of queries as tasks, by shape only.
#include "attention.hpp"

#include <algorithm>
#include <atomic>

#include "alloc.hpp"
#include "drivers.hpp"

namespace mlcore_cpu {
namespace {

template <class T> const AttentionLoops<T>& loops();
template <> const AttentionLoops<float>& loops<float>() { return table().attention->f32; }
template <> const AttentionLoops<double>& loops<double>() { return table().attention->f64; }

constexpr i64 TASKS = 8;                 // at least as many in the backward pass, where there are rows to cut
constexpr i64 STRETCH = 1'000'000'000;   // operations a backward task does before Ctrl-C is looked for

i64 heads_of(const View& v) {
    i64 n = 1;
    for (int d = 0; d < v.ndim - 2; ++d) n *= v.shape[d];
    return n;
}
// Where head number `index` of a view begins.
char* begin_of(const View& v, i64 index) {
    char* data = v.data;
    for (int d = v.ndim - 3; d >= 0; --d) {
        data += index % v.shape[d] * v.strides[d];
        index /= v.shape[d];
    }
    return data;
}
template <class T> T* rows_of(const View& v, i64 index, i64* row) {
    *row = v.strides[v.ndim - 2] / static_cast<i64>(sizeof(T));
    return reinterpret_cast<T*>(begin_of(v, index));
}

template <class T>
Head<T> head(const AttentionArrays& a, i64 index, bool back) {
    Head<T> h{};
    const int n = a.q.ndim;
    h.queries = a.q.shape[n - 2], h.keys = a.k.shape[n - 2], h.width = a.q.shape[n - 1], h.value_width = a.v.shape[n - 1];
    h.q = rows_of<T>(a.q, index, &h.q_row), h.k = rows_of<T>(a.k, index, &h.k_row), h.v = rows_of<T>(a.v, index, &h.v_row);
    h.y = rows_of<T>(a.y, index, &h.y_row);
    h.lse = out<T>(a.lse) + index * h.queries;
    h.causal = a.causal, h.scale = static_cast<T>(a.scale);
    if (a.masked) {
        const i64 item = ITEMSIZE[a.mask.dtype];
        h.mask_row = a.mask.strides[n - 2] / item, h.mask_col = a.mask.strides[n - 1] / item;
        if (a.mask.dtype == BOOL) h.allowed = reinterpret_cast<const unsigned char*>(begin_of(a.mask, index));
        else h.bias = reinterpret_cast<const T*>(begin_of(a.mask, index));
    }
    if (back) {
        h.g = rows_of<T>(a.g, index, &h.g_row);
        h.gq = rows_of<T>(a.gq, index, &h.gq_row), h.gk = rows_of<T>(a.gk, index, &h.gk_row), h.gv = rows_of<T>(a.gv, index, &h.gv_row);
    }
    return h;
}

// f(task) for all tasks, on this thread alone where the work is small.
template <class F>
Status each(i64 tasks, i64 operations, F&& f) {
    if (operations > 200'000) return parallel_for(tasks, f);
    for (i64 i = 0; i < tasks; ++i) f(i);
    return OK;
}

}  // namespace

Status run_attention(const AttentionArrays& a) {
    return typed(a.q.dtype, [&](auto type) {
        using T = decltype(type);
        const auto& l = loops<T>();
        const i64 heads = heads_of(a.q), n = a.q.ndim, queries = a.q.shape[n - 2], keys = a.k.shape[n - 2];
        const i64 blocks = ceil_div(keys, KEY_BLOCK), query_blocks = ceil_div(queries, QUERY_BLOCK);
        const i64 key_size = l.key_size(a.q.shape[n - 1]), value_size = l.value_size(a.v.shape[n - 1]);
        const i64 work = heads * queries * keys * (a.q.shape[n - 1] + a.v.shape[n - 1]);
        std::atomic<bool> failed{false};
        // Few queries: each task packs the keys it meets. Many: they are packed once, for all blocks of queries.
        const bool shared = query_blocks > 1;
        Scratch packed(shared ? heads * blocks * (key_size + value_size) * static_cast<i64>(sizeof(T)) : 0);
        if (packed.failed()) return NO_MEMORY;
        T* all = packed.get<T>();
        const auto keys_at = [&](T* base, i64 block) { return base + block * key_size; };
        const auto values_at = [&](T* base, i64 block) { return base + blocks * key_size + block * value_size; };
        if (shared) {
            const Status status = each(heads * blocks, work, [&](i64 task) {
                const i64 index = task / blocks, block = task % blocks;
                T* base = all + index * blocks * (key_size + value_size);
                l.pack(head<T>(a, index, false), block, keys_at(base, block), values_at(base, block));
            });
            if (status != OK) return status;
        }
        const Status status = each(heads * query_blocks, work, [&](i64 task) {
            const i64 index = task / query_blocks, first = task % query_blocks * QUERY_BLOCK;
            const Head<T> h = head<T>(a, index, false);
            const i64 own = shared ? 0 : blocks * (key_size + value_size);
            Scratch memory((QUERY_BLOCK * SCORE_ROW + own) * static_cast<i64>(sizeof(T)));
            if (memory.failed()) {
                failed = true;
                return;
            }
            T* scratch = memory.get<T>();
            T* base = shared ? all + index * own : scratch + QUERY_BLOCK * SCORE_ROW;
            if (shared) base = all + index * blocks * (key_size + value_size);
            else
                for (i64 block = 0; block < blocks; ++block) l.pack(h, block, keys_at(base, block), values_at(base, block));
            l.forward(h, first, std::min(QUERY_BLOCK, queries - first), keys_at(base, 0), values_at(base, 0), scratch);
        });
        return failed ? NO_MEMORY : status;
    });
}

Status run_attention_grad(const AttentionArrays& a) {
    return typed(a.q.dtype, [&](auto type) {
        using T = decltype(type);
        const auto& l = loops<T>();
        const i64 heads = heads_of(a.q), n = a.q.ndim, queries = a.q.shape[n - 2], keys = a.k.shape[n - 2];
        const i64 d = a.q.shape[n - 1], dv = a.v.shape[n - 1];
        const i64 blocks = ceil_div(keys, KEY_BLOCK), query_blocks = ceil_div(queries, QUERY_BLOCK);
        // Few heads: the queries are cut into parts, each with its own gk and gv, added up in order.
        const i64 wanted = std::min(query_blocks, ceil_div(TASKS, heads));
        const i64 rows = ceil_div(query_blocks, std::max<i64>(1, wanted)) * QUERY_BLOCK, parts = ceil_div(queries, rows);
        const i64 sums = keys * (d + dv), work = rows * (3 * d + 2 * dv);
        Scratch partial(heads * (parts - 1) * sums * static_cast<i64>(sizeof(T)));
        if (partial.failed()) return NO_MEMORY;
        std::atomic<bool> failed{false};
        const i64 stretch = std::max<i64>(1, STRETCH / std::max<i64>(1, work * KEY_BLOCK));
        for (i64 block = 0; block < blocks; block += stretch) {
            const Status status = each(heads * parts, heads * parts * work * keys, [&](i64 task) {
                const i64 index = task / parts, part = task % parts, first = part * rows, count = std::min(rows, queries - first);
                Head<T> h = head<T>(a, index, true);
                if (part > 0) {
                    h.gk = partial.get<T>() + (index * (parts - 1) + part - 1) * sums, h.gk_row = d;
                    h.gv = h.gk + keys * d, h.gv_row = dv;
                }
                Scratch memory(l.grad_size(d, dv, count) * static_cast<i64>(sizeof(T)));
                if (memory.failed()) failed = true;
                else l.backward(h, first, count, block, std::min(stretch, blocks - block), memory.get<T>());
            });
            if (failed) return NO_MEMORY;
            if (status != OK) return status;
        }
        if (parts == 1) return OK;
        return each(heads, heads * (parts - 1) * sums, [&](i64 index) {
            const Head<T> h = head<T>(a, index, true);
            for (i64 part = 1; part < parts; ++part) {
                const T* from = partial.get<T>() + (index * (parts - 1) + part - 1) * sums;
                l.add(from, keys, d, h.gk, h.gk_row);
                l.add(from + keys * d, keys, dv, h.gv, h.gv_row);
            }
        });
    });
}

}  // namespace mlcore_cpu
