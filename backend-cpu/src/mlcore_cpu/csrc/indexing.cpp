// Drivers of indexing: who writes is decided by where it goes, so repeated indices never race.
#include "indexing.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "alloc.hpp"
#include "drivers.hpp"
#include "fused.hpp"

namespace mlcore_cpu {
namespace {

constexpr i64 SLAB_BYTES = 256 * 1024;  // of the result that a task owns: it stays in the L2 cache while it is written
constexpr i64 MOST_SLABS = 1024;
constexpr i64 TILE = 64;                // columns of a task where the result is one slab
constexpr i64 STREAM_FROM = 8 << 20;    // bytes of a result that would only push others out of the caches
constexpr i64 BREATH = i64{1} << 20;    // elements between two looks for Ctrl-C

struct Sixteen {
    std::uint64_t half[2];
};
// Calls f with a value of a type of so many bytes.
template <class F>
Status of_size(i64 itemsize, F&& f) {
    switch (itemsize) {
        case 1: return f(std::uint8_t{});
        case 2: return f(std::uint16_t{});
        case 4: return f(std::uint32_t{});
        case 8: return f(std::uint64_t{});
        case 16: return f(Sixteen{});
        default: return UNSUPPORTED;
    }
}

template <class T>
void add_to(T* __restrict y, const T* __restrict x, i64 n) {
    if constexpr (std::is_floating_point_v<T>) {
        if (n >= 8) {
            if constexpr (std::is_same_v<T, float>) table().fused->f32.accumulate(y, x, n);
            else table().fused->f64.accumulate(y, x, n);
            return;
        }
    }
    for (i64 i = 0; i < n; ++i) y[i] = static_cast<T>(y[i] + x[i]);
}

// Rows of the result in slabs, and the indices sorted by the slab they name, in their order within each.
class Slabs {
  public:
    Slabs(const i64* indices, i64 count, i64 size, i64 row_bytes)
        : height(std::max({i64{1}, SLAB_BYTES / std::max<i64>(1, row_bytes), ceil_div(size, MOST_SLABS)})), count_(count),
          n(std::max<i64>(1, ceil_div(size, height))), indices_(indices), blocks_(ceil_div(count, BLOCK)),
          order_(n > 1 ? count * static_cast<i64>(sizeof(i64)) : 0), starts_(n > 1 ? (blocks_ + 1) * n * static_cast<i64>(sizeof(i64)) : 0) {}

    const i64 height;

  private:
    const i64 count_;

  public:
    const i64 n;

    Status sort() {
        if (n == 1) return OK;
        if (order_.failed() || starts_.failed()) return NO_MEMORY;
        i64* starts = starts_.get<i64>();  // of each block the slabs' counts, then where they go
        Status status = over(blocks_, [&](i64 b) {
            i64* own = starts + b * n;
            std::fill(own, own + n, i64{0});
            for (i64 i = b * BLOCK; i < std::min(count_, (b + 1) * BLOCK); ++i) ++own[indices_[i] / height];
        });
        if (status != OK) return status;
        i64 total = 0;
        for (i64 s = 0; s < n; ++s) {
            for (i64 b = 0; b < blocks_; ++b) {
                const i64 here = starts[b * n + s];
                starts[b * n + s] = total;
                total += here;
            }
            starts[blocks_ * n + s] = total;  // where the next slab begins
        }
        return over(blocks_, [&](i64 b) {
            for (i64 i = b * BLOCK; i < std::min(count_, (b + 1) * BLOCK); ++i) order_.get<i64>()[starts[b * n + indices_[i] / height]++] = i;
        });
    }

    // put(index, its position) for all that name the slab; stops when the loop is to stop.
    template <class F>
    void each(i64 slab, i64 cost, F&& put) const {
        const i64* ends = n > 1 ? starts_.get<i64>() + blocks_ * n : nullptr;
        const i64 first = n > 1 && slab > 0 ? ends[slab - 1] : 0, last = n > 1 ? ends[slab] : count_;
        const i64 stretch = std::max<i64>(1, BREATH / std::max<i64>(1, cost));
        for (i64 from = first; from < last; from += stretch) {
            if (from > first && interrupted()) return;
            const i64 to = std::min(last, from + stretch);
            if (n > 1) for (i64 k = from; k < to; ++k) put(indices_[order_.get<i64>()[k]], order_.get<i64>()[k]);
            else for (i64 k = from; k < to; ++k) put(indices_[k], k);
        }
    }

  private:
    static constexpr i64 BLOCK = 64 * 1024;
    template <class F>
    static Status over(i64 blocks, F&& f) {
        if (blocks > 1) return parallel_for(blocks, f);
        for (i64 b = 0; b < blocks; ++b) f(b);
        return OK;
    }
    const i64* indices_;
    const i64 blocks_;
    Scratch order_, starts_;
};

// A task owns a slab's columns: start(element, columns) for each of its rows, put(to, from, columns) for each index.
template <class Start, class Put>
Status over_slabs(const i64* indices, i64 outer, i64 size, i64 count, i64 inner, i64 row_bytes, Start&& start, Put&& put) {
    if (size == 0 || inner == 0) return OK;
    Slabs slabs(indices, count, size, row_bytes);
    const Status status = slabs.sort();
    if (status != OK) return status;
    const i64 width = std::min(inner, slabs.n == 1 ? TILE : BREATH), tiles = ceil_div(inner, width);
    return ranges(outer * slabs.n * tiles, (slabs.height + count / slabs.n) * width, [&](i64 task, i64 tasks) {
        for (; tasks > 0; ++task, --tasks) {
            const i64 tile = task % tiles, slab = task / tiles % slabs.n, o = task / tiles / slabs.n;
            const i64 column = tile * width, columns = std::min(width, inner - column);
            const i64 first = slab * slabs.height, last = std::min(size, first + slabs.height);
            if (columns == inner) start((o * size + first) * inner, (last - first) * inner);
            else for (i64 row = first; row < last; ++row) start((o * size + row) * inner + column, columns);
            slabs.each(slab, columns, [&](i64 index, i64 position) {
                put((o * size + index) * inner + column, (o * count + position) * inner + column, columns);
            });
        }
    });
}

constexpr i64 LINE = 1024;  // indices that are looked at and then used

// f(i, place) for the indices of a line, unless one names nothing.
template <class F>
bool each_place(IndexKind kind, const i64* __restrict at, i64 n, i64 size, F&& f) {
    if (kind == IndexKind::plain) for (i64 i = 0; i < n; ++i) f(i, at[i]);
    else if (kind == IndexKind::from_the_end) for (i64 i = 0; i < n; ++i) f(i, at[i] + (at[i] < 0 ? size : 0));
    return kind != IndexKind::outside;
}

template <class T>
bool take_line(const T* __restrict x, const i64* at, T* __restrict y, i64 n, i64 size, i64 inner, i64 next, bool stream) {
    const IndexTable& index = *table().index;
    const IndexKind kind = index.kind(at, n, size);
    if (kind != IndexKind::plain || inner > 1) return each_place(kind, at, n, size, [=](i64 i, i64 place) { y[i] = x[place * inner + (inner > 1 ? i : 0)]; });
    index.take[log2_itemsize(sizeof(T))](x, at, y, n, next, stream);
    return true;
}
template <class T>
bool add_line(T* __restrict y, const i64* at, const T* __restrict x, i64 n, i64 size, i64 inner, i64 next) {
    const IndexTable& index = *table().index;
    const IndexKind kind = index.kind(at, n, size);
    if constexpr (std::is_floating_point_v<T>) {
        if (kind == IndexKind::plain && inner == 1) {
            if constexpr (std::is_same_v<T, float>) index.add_f32(y, at, x, n, next);
            else index.add_f64(y, at, x, n, next);
            return true;
        }
    }
    const i64 step = inner > 1;
    return each_place(kind, at, n, size, [=](i64 i, i64 place) { T& to = y[place * inner + i * step]; to = static_cast<T>(to + x[i]); });
}

}  // namespace

Status run_check_indices(const i64* indices, i64 n, i64 size) {
    std::atomic<bool> bad{false};
    const Status status = ranges(n, 1, [&](i64 first, i64 count) {
        if (table().index->kind(indices + first, count, size) != IndexKind::plain) bad = true;
    });
    return status == OK && bad ? OUT_OF_RANGE : status;
}

Status run_gather(const char* x, const i64* indices, char* y, i64 outer, i64 size, i64 count, i64 inner_bytes) {
    const bool item = (inner_bytes & (inner_bytes - 1)) == 0 && inner_bytes > 0 && inner_bytes <= 16;
    if (item) return of_size(inner_bytes, [&](auto type) {
        using T = decltype(type);
        return ranges(outer * count, 1, [&](i64 first, i64 n) {
            for (i64 stop = first + n; first < stop;) {
                const i64 o = first / count, j = first % count, run = std::min(count - j, stop - first);
                const T* __restrict from = in<T>(x) + o * size;
                T* __restrict to = out<T>(y) + first;
                for (i64 i = 0; i < run; ++i) to[i] = from[indices[j + i]];
                first += run;
            }
        });
    });
    const i64 piece = std::min<i64>(inner_bytes, SLAB_BYTES), pieces = ceil_div(std::max<i64>(1, inner_bytes), std::max<i64>(1, piece));
    return ranges(outer * count * pieces, std::max<i64>(1, piece / 4), [&](i64 first, i64 n) {
        for (i64 i = first; i < first + n; ++i) {
            const i64 slice = i / pieces, at = i % pieces * piece;
            std::memcpy(y + slice * inner_bytes + at, x + (slice / count * size + indices[slice % count]) * inner_bytes + at,
                        static_cast<std::size_t>(std::min(piece, inner_bytes - at)));
        }
    });
}

Status run_index_add(int dtype, const void* x, void* y, const i64* indices, const void* values, i64 outer, i64 size, i64 count, i64 inner) {
    return of_dtype(dtype, [&](auto type) {
        using T = decltype(type);
        const auto start = [&](i64 at, i64 n) {
            if (!x) std::memset(out<T>(y) + at, 0, static_cast<std::size_t>(n) * sizeof(T));
            else if (x != y) std::memcpy(out<T>(y) + at, in<T>(x) + at, static_cast<std::size_t>(n) * sizeof(T));
        };
        return over_slabs(indices, outer, size, count, inner, inner * static_cast<i64>(sizeof(T)), start,
                          [&](i64 to, i64 from, i64 n) { add_to(out<T>(y) + to, in<T>(values) + from, n); });
    });
}

Status run_scatter(const char* x, char* y, const i64* indices, const char* values, i64 outer, i64 size, i64 count, i64 inner_bytes) {
    const auto start = [&](i64 at, i64 n) {
        if (x != y) std::memcpy(y + at, x + at, static_cast<std::size_t>(n));
    };
    return over_slabs(indices, outer, size, count, inner_bytes, inner_bytes, start, [&](i64 to, i64 from, i64 n) {
        switch (n) {
            case 4: std::memcpy(y + to, values + from, 4); break;
            case 8: std::memcpy(y + to, values + from, 8); break;
            default: std::memcpy(y + to, values + from, static_cast<std::size_t>(n));
        }
    });
}

Status run_take_along(int itemsize, const void* x, const i64* at, void* y, i64 outer, i64 size, i64 count, i64 inner) {
    std::atomic<bool> bad{false};
    const Status status = of_size(itemsize, [&](auto type) {
        using T = decltype(type);
        const i64 line = inner == 1 ? count : inner;  // what is walked without a division
        const bool stream = outer * count * inner * itemsize >= STREAM_FROM;
        return ranges(outer * count * inner, 1, [&](i64 first, i64 n) {
            bool wrong = false;
            for (i64 stop = first + n; first < stop && !wrong;) {
                const i64 o = first / (count * inner), j = first % line, run = std::min({line - j, stop - first, LINE});
                const i64 next = inner == 1 && j < size ? size : 0;
                wrong = !take_line(in<T>(x) + o * size * inner + (inner == 1 ? 0 : j), at + first, out<T>(y) + first, run, size, inner,
                                   next ? next + j : 0, stream);
                first += run;
            }
            if (wrong) bad = true;
        });
    });
    return status == OK && bad ? OUT_OF_RANGE : status;
}

Status run_sum_along(int dtype, const void* values, const i64* at, void* y, i64 outer, i64 size, i64 count, i64 inner) {
    std::atomic<bool> bad{false};
    const Status status = of_dtype(dtype, [&](auto type) {
        using T = decltype(type);
        const i64 width = std::min(inner, TILE), tiles = ceil_div(inner, std::max<i64>(1, width));
        return ranges(outer * tiles, (size + 2 * count) * width, [&](i64 first, i64 n) {
            bool wrong = false;
            for (i64 task = first; task < first + n; ++task) {
                const i64 o = task / tiles, column = task % tiles * width, columns = std::min(width, inner - column);
                T* __restrict to = out<T>(y) + o * size * inner + column;
                for (i64 k = 0; k < size; k += BREATH / columns) {
                    if (k > 0 && interrupted()) return;
                    const i64 stop = std::min(size, k + BREATH / columns);
                    if (columns == inner) std::memset(to + k * inner, 0, static_cast<std::size_t>((stop - k) * inner) * sizeof(T));
                    else for (i64 row = k; row < stop; ++row) std::memset(to + row * inner, 0, static_cast<std::size_t>(columns) * sizeof(T));
                }
                const i64 length = inner == 1 ? LINE : columns, lines = inner == 1 ? ceil_div(count, LINE) : count;
                for (i64 j = 0; j < lines && !wrong; ++j) {
                    if (j % (BREATH / LINE) == 0 && j > 0 && interrupted()) return;
                    const i64 at_line = o * count * inner + column + j * (inner == 1 ? LINE : inner), next = j * LINE < size ? size + j * LINE : 0;
                    wrong = !add_line(to, at + at_line, in<T>(values) + at_line, std::min(length, inner == 1 ? count - j * LINE : length), size, inner, next);
                }
            }
            if (wrong) bad = true;
        });
    });
    return status == OK && bad ? OUT_OF_RANGE : status;
}

Status run_count_true(const unsigned char* x, i64 n, i64* counts) {
    return ranges(ceil_div(n, TRUE_STRETCH), TRUE_STRETCH, [&](i64 first, i64 stretches) {
        for (i64 s = first; s < first + stretches; ++s) {
            i64 count = 0;
            for (i64 i = s * TRUE_STRETCH; i < std::min(n, (s + 1) * TRUE_STRETCH); ++i) count += x[i] != 0;
            counts[s] = count;
        }
    });
}

Status run_where_true(const unsigned char* x, i64 n, int ndim, const i64* shape, const i64* before, i64* const* out) {
    return ranges(ceil_div(n, TRUE_STRETCH), TRUE_STRETCH, [&](i64 first, i64 stretches) {
        for (i64 s = first; s < first + stretches; ++s) {
            i64 k = before[s], at[MAX_NDIM], flat = s * TRUE_STRETCH;
            const i64 stop = std::min(n, flat + TRUE_STRETCH);
            for (i64 rest = flat, d = ndim - 1; d >= 0; --d) {
                at[d] = rest % shape[d];
                rest /= shape[d];
            }
            while (flat < stop) {  // line by line along the last axis
                const i64 begin = at[ndim - 1], run = std::min(shape[ndim - 1] - begin, stop - flat);
                for (i64 i = 0; i < run; ++i) {
                    if (!x[flat + i]) continue;
                    for (int d = 0; d < ndim - 1; ++d) out[d][k] = at[d];
                    out[ndim - 1][k++] = begin + i;
                }
                flat += run;
                at[ndim - 1] = 0;
                for (int d = ndim - 2; d >= 0 && ++at[d] == shape[d]; --d) at[d] = d ? 0 : at[d];
            }
        }
    });
}

}  // namespace mlcore_cpu
