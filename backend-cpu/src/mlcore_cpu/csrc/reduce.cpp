#include "reduce.hpp"

#include <algorithm>
#include <cstring>

#include "alloc.hpp"
#include "elementwise.hpp"
#include "pool.hpp"

namespace mlcore_cpu {
namespace {

constexpr i64 TILE = 512;          // columns of a unit
constexpr i64 GRAIN = 64 * 1024;   // input elements a task should have
constexpr i64 BLOCK = 1024;        // elements gathered or converted at once
constexpr i64 ENOUGH_UNITS = 64;   // with so many independent outputs the reduced axes are not split
constexpr i64 LONG = 1 << 24;      // but where they have more elements: a task's end is when Ctrl-C is looked for
constexpr i64 BREATH = 1 << 20;    // the same within a search for the best, which is not split

struct Axis {
    i64 size, stride, out_stride;  // bytes in, elements out
    bool reduced;
};

// The axes in memory order, merged; kept ones and reduced ones apart; and how the work is cut, by shape only.
struct Plan {
    const char* data;
    int in_dtype, work, itemsize;
    Axis kept[MAX_NDIM], red[MAX_NDIM];
    int n_kept = 0, n_red = 0;
    bool columns;              // the fastest axis is kept: reduce tiles of columns
    Axis line, wide;           // line: the fastest reduced axis; wide: the kept axis that tiles run along
    i64 out_offset = 0;        // of axes walked backwards
    i64 lines, tiles, units, piece, pieces, segments, pieces_each;

    Plan(const View& x, const bool* reduced, int work_dtype) : data(x.data), in_dtype(x.dtype), work(work_dtype) {
        itemsize = ITEMSIZE[in_dtype];
        Axis axes[MAX_NDIM];
        int n = 0;
        i64 out_stride = 1;
        for (int d = x.ndim - 1; d >= 0; --d) {
            Axis a{x.shape[d], x.strides[d], reduced[d] ? 0 : out_stride, reduced[d]};
            if (!reduced[d]) out_stride *= x.shape[d];
            if (a.size == 1) continue;
            if (a.stride < 0) {  // walk it forwards
                data += a.stride * (a.size - 1);
                out_offset += a.out_stride * (a.size - 1);
                a.stride = -a.stride;
                a.out_stride = -a.out_stride;
            }
            axes[n++] = a;
        }
        std::reverse(axes, axes + n);
        std::stable_sort(axes, axes + n, [](const Axis& a, const Axis& b) { return a.stride > b.stride; });
        int m = 0;
        for (int i = 0; i < n; ++i) {
            Axis& a = axes[i];
            if (m > 0) {
                Axis& b = axes[m - 1];
                if (b.reduced == a.reduced && b.stride == a.stride * a.size && b.out_stride == a.out_stride * a.size) {
                    b = {b.size * a.size, a.stride, a.out_stride, a.reduced};
                    continue;
                }
            }
            axes[m++] = a;
        }
        for (int i = 0; i < m; ++i) (axes[i].reduced ? red[n_red++] : kept[n_kept++]) = axes[i];
        columns = m > 0 && !axes[m - 1].reduced;
        // A short fastest reduced axis: better strided columns than a call per few elements.
        if (!columns && n_kept > 0 && n_red > 0 && red[n_red - 1].size < 32 && kept[n_kept - 1].size >= 16) columns = true;
        line = n_red > 0 ? red[--n_red] : Axis{1, itemsize, 0, true};
        wide = columns ? kept[--n_kept] : Axis{1, itemsize, 0, false};
        lines = 1;
        for (int i = 0; i < n_red; ++i) lines *= red[i].size;
        if (line.size == 0) lines = 0;
        i64 outer = 1;
        for (int i = 0; i < n_kept; ++i) outer *= kept[i].size;
        tiles = ceil_div(wide.size, TILE);
        units = outer * tiles;
        const i64 width = std::min(wide.size, TILE);
        piece = columns ? std::max<i64>(16, GRAIN / std::max<i64>(width, 1)) : GRAIN;
        const i64 pieces_in_line = line.size ? ceil_div(line.size, piece) : 0;
        pieces = lines * pieces_in_line;
        pieces_each = std::max<i64>(1, GRAIN / std::max<i64>(1, std::min(piece, line.size) * width));
        if (units >= ENOUGH_UNITS) pieces_each = std::max<i64>(1, std::min(pieces, LONG / GRAIN * pieces_each));
        segments = std::max<i64>(1, ceil_div(pieces, pieces_each));
    }

    // Whole contiguous lines of the work dtype, one after the other, each one result.
    bool plain_rows() const {
        return !columns && n_red == 0 && segments == 1 && as_is(line) && (n_kept == 0 || (n_kept == 1 && kept[0].out_stride == 1));
    }
    i64 unit_width(i64 unit) const { return std::min(TILE, wide.size - unit % tiles * TILE); }

    void unit_offsets(i64 unit, i64* in, i64* out) const {
        const i64 tile = unit % tiles;
        i64 outer = unit / tiles;
        *in = tile * TILE * wide.stride;
        *out = out_offset + tile * TILE * wide.out_stride;
        for (int i = n_kept - 1; i >= 0; --i) {
            const i64 at = outer % kept[i].size;
            outer /= kept[i].size;
            *in += at * kept[i].stride;
            *out += at * kept[i].out_stride;
        }
    }

    // Calls f(pointer, first position on the line, count) for the pieces of a segment of a unit.
    template <class F>
    void each_piece(i64 in_offset, i64 segment, F&& f) const {
        const i64 pieces_in_line = line.size ? ceil_div(line.size, piece) : 0;
        const i64 stop = std::min(pieces, (segment + 1) * pieces_each);
        for (i64 p = segment * pieces_each; p < stop; ++p) {
            i64 at_line = p / pieces_in_line;
            const i64 first = p % pieces_in_line * piece;
            i64 offset = in_offset + first * line.stride;
            for (int i = n_red - 1; i >= 0; --i) {
                offset += at_line % red[i].size * red[i].stride;
                at_line /= red[i].size;
            }
            f(data + offset, first, std::min(piece, line.size - first));
        }
    }

    // `n` values at stride as contiguous values of the work dtype; buffers hold BLOCK values each.
    const char* contiguous(const char* x, i64 stride, i64 n, char* raw, char* converted) const {
        const Table& t = table();
        if (stride != itemsize && n > 1) {
            t.gather[log2_itemsize(itemsize)](x, stride, raw, n);
            x = raw;
        }
        if (in_dtype == work) return x;
        t.cast[in_dtype][work](x, converted, n);
        return converted;
    }
    bool as_is(const Axis& a) const { return in_dtype == work && a.stride == itemsize; }
};

struct alignas(64) Block {
    char bytes[BLOCK * 8];
};
struct alignas(64) Accumulators {
    char bytes[TILE * 24];
};

void reduce_segment(const ReduceEntry& e, const Plan& plan, i64 unit, i64 segment, void* acc) {
    i64 in_offset, out_offset;
    plan.unit_offsets(unit, &in_offset, &out_offset);
    const i64 width = plan.unit_width(unit);
    e.init(acc, width);
    Block raw, converted;
    plan.each_piece(in_offset, segment, [&](const char* x, i64, i64 n) {
        if (plan.columns) {
            if (plan.as_is(plan.wide)) {
                e.column(x, n, plan.line.stride, width, acc);
            } else {
                for (i64 r = 0; r < n; ++r)
                    e.column(plan.contiguous(x + r * plan.line.stride, plan.wide.stride, width, raw.bytes, converted.bytes), 1, 0, width, acc);
            }
        } else if (plan.as_is(plan.line)) {
            e.row(x, n, acc);
        } else {
            for (i64 i = 0; i < n; i += BLOCK) {
                const i64 m = std::min(BLOCK, n - i);
                e.row(plan.contiguous(x + i * plan.line.stride, plan.line.stride, m, raw.bytes, converted.bytes), m, acc);
            }
        }
    });
}

// Results of a unit, converted, to their places.
void store(const Plan& plan, i64 unit, const char* values, int dtype, char* out, int out_dtype) {
    i64 in_offset, out_offset;
    plan.unit_offsets(unit, &in_offset, &out_offset);
    const i64 width = plan.unit_width(unit);
    const int size = ITEMSIZE[out_dtype];
    Block converted;
    if (dtype != out_dtype) {
        table().cast[dtype][out_dtype](values, converted.bytes, width);
        values = converted.bytes;
    }
    char* to = out + out_offset * size;
    const i64 step = plan.wide.out_stride * size;
    if (step == size || width == 1) {
        std::memcpy(to, values, width * size);
    } else {
        for (i64 j = 0; j < width; ++j) std::memcpy(to + j * step, values + j * size, size);
    }
}

template <class F>
Status over_units(const Plan& plan, i64 per_unit, F&& f) {
    const i64 each = std::max<i64>(1, GRAIN / std::max<i64>(1, per_unit));
    if (plan.units * per_unit < INLINE_BELOW) {
        for (i64 u = 0; u < plan.units; ++u) f(u);
        return OK;
    }
    return parallel_for(ceil_div(plan.units, each), [&](i64 task) {
        for (i64 u = task * each; u < std::min(plan.units, (task + 1) * each); ++u) f(u);
    });
}

}  // namespace

// How many elements a dense tensor has of which every axis is reduced; 0 for anything else.
static i64 dense_and_whole(const View& x, const bool* reduced) {
    i64 n = 1;
    for (int d = x.ndim - 1; d >= 0; --d) {
        if (!reduced[d] || (x.strides[d] != n * ITEMSIZE[x.dtype] && x.shape[d] != 1)) return 0;
        n *= x.shape[d];
    }
    return n;
}

Status run_reduce(const ReduceEntry& e, const View& x, const bool* reduced, char* out, int out_dtype, double divisor) {
    if (x.dtype == e.in && out_dtype == e.out) {
        const i64 n = dense_and_whole(x, reduced);
        if (n > 0 && n <= BLOCK) {  // one row and one number: what the plan below would come to
            struct alignas(64) { char bytes[64]; } acc;
            if (e.acc_bytes <= static_cast<int>(sizeof acc)) {
                e.init(acc.bytes, 1);
                e.row(x.data, n, acc.bytes);
                e.finish(acc.bytes, out, 1, divisor);
                return OK;
            }
        }
    }
    const Plan plan(x, reduced, e.in);
    if (plan.units == 0 || plan.wide.size == 0) return OK;
    const i64 reduced_size = plan.lines * plan.line.size;
    if (plan.plain_rows()) {
        const Axis& kept = plan.kept[0];
        const i64 count = plan.n_kept ? kept.size : 1, each = std::clamp<i64>(GRAIN / (reduced_size + 8), 1, TILE);
        const int size = ITEMSIZE[out_dtype];
        const auto rows = [&](i64 task) {
            Accumulators acc;
            Block values, converted;
            const i64 first = task * each, m = std::min(each, count - first);
            e.init(acc.bytes, m);
            for (i64 r = 0; r < m; ++r) e.row(plan.data + (first + r) * kept.stride, reduced_size, acc.bytes + r * e.acc_bytes);
            char* to = out + (plan.out_offset + first) * size;
            e.finish(acc.bytes, e.out == out_dtype ? to : values.bytes, m, divisor);
            if (e.out != out_dtype) table().cast[e.out][out_dtype](values.bytes, to, m);
        };
        if (count * (reduced_size + 8) >= INLINE_BELOW) return parallel_for(ceil_div(count, each), rows);
        for (i64 task = 0; task * each < count; ++task) rows(task);
        return OK;
    }
    if (plan.segments == 1) {
        return over_units(plan, (reduced_size + 8) * std::min(plan.wide.size, TILE), [&](i64 unit) {
            Accumulators acc;
            Block values;
            reduce_segment(e, plan, unit, 0, acc.bytes);
            e.finish(acc.bytes, values.bytes, plan.unit_width(unit), divisor);
            store(plan, unit, values.bytes, e.out, out, out_dtype);
        });
    }
    const i64 unit_bytes = TILE * e.acc_bytes;
    Scratch partial(plan.units * plan.segments * unit_bytes);
    if (partial.failed()) return NO_MEMORY;
    Status status = parallel_for(plan.units * plan.segments, [&](i64 task) {
        reduce_segment(e, plan, task / plan.segments, task % plan.segments, partial.get() + task * unit_bytes);
    });
    if (status != OK) return status;
    for (i64 unit = 0; unit < plan.units; ++unit) {
        char* acc = partial.get() + unit * plan.segments * unit_bytes;
        const i64 width = plan.unit_width(unit);
        for (i64 s = 1; s < plan.segments; ++s) e.combine(acc, acc + s * unit_bytes, width);
        Block values;
        e.finish(acc, values.bytes, width, divisor);
        store(plan, unit, values.bytes, e.out, out, out_dtype);
    }
    return OK;
}

Status run_arg(const ArgEntry& e, const View& x, int axis, i64* out) {
    bool reduced[MAX_NDIM] = {};
    reduced[axis] = true;
    View v = x;
    // "First" must stay first: the plan may not walk this axis from its end, so it sees the stride's size only.
    v.strides[axis] = std::abs(v.strides[axis]);
    Plan plan(v, reduced, e.in);
    plan.line.stride = x.strides[axis];
    if (plan.units == 0 || plan.wide.size == 0) return OK;
    const i64 n = x.shape[axis];
    return over_units(plan, n * std::min(plan.wide.size, TILE), [&](i64 unit) {
        i64 in_offset, out_offset;
        plan.unit_offsets(unit, &in_offset, &out_offset);
        const char* base = plan.data + in_offset;
        const i64 width = plan.unit_width(unit);
        Block raw, converted, best;
        i64 index[TILE];
        std::memset(index, 0, width * sizeof(i64));
        if (plan.columns) {
            for (i64 r = 0; r < n; ++r) {
                if (r % 4096 == 4095 && interrupted()) return;
                const char* row = base + r * plan.line.stride;
                if (!plan.as_is(plan.wide)) row = plan.contiguous(row, plan.wide.stride, width, raw.bytes, converted.bytes);
                e.column(row, r, 1, 0, width, best.bytes, index);
            }
        } else if (plan.as_is(plan.line) && n <= BREATH) {
            index[0] = e.row(base, n);
        } else {  // the best of the bests of blocks: an earlier block wins ties
            const bool as_is = plan.as_is(plan.line);
            const i64 length = as_is ? BREATH : BLOCK;
            const int size = ITEMSIZE[e.in];
            for (i64 i = 0; i < n; i += length) {
                if (i % BREATH == 0 && i > 0 && interrupted()) return;
                const i64 m = std::min(length, n - i);
                const char* block = base + i * plan.line.stride;
                if (!as_is) block = plan.contiguous(block, plan.line.stride, m, raw.bytes, converted.bytes);
                const i64 at = e.row(block, m);
                i64 choice = 0;
                e.column(block + at * size, i > 0, 1, 0, 1, best.bytes, &choice);
                if (i == 0 || choice) index[0] = i + at;
            }
        }
        for (i64 j = 0; j < width; ++j) out[out_offset + j * plan.wide.out_stride] = index[j];
    });
}

}  // namespace mlcore_cpu
