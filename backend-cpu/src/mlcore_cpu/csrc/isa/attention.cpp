// Attention of one head: blocks of scores in cache, the softmax kept up to date as key blocks come.
#include "../attention.hpp"
#include "isa_tables.hpp"
#include "micro.hpp"
#include "rows.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

INL i64 least(i64 a, i64 b) { return a < b ? a : b; }

// Keys that the queries before `end` may see, and blocks of them.
template <class T> INL i64 visible(const Head<T>& h, i64 end) { return h.causal ? least(h.keys, end) : h.keys; }

template <class T> i64 key_size(i64 width) { return packed_size<T>(width, KEY_BLOCK); }
template <class T> i64 value_size(i64 value_width) { return packed_size<T>(KEY_BLOCK, value_width); }

template <class T>
void pack(const Head<T>& h, i64 block, T* keys, T* values) {
    const i64 from = block * KEY_BLOCK, count = least(KEY_BLOCK, h.keys - from);
    pack_panels<T>(h.k + from * h.k_row, 1, h.k_row, h.width, count, keys);
    pack_panels<T>(h.v + from * h.v_row, h.v_row, 1, count, h.value_width, values);
}

// A row of scores from products: scaled, and masked with -inf or by adding.
template <class T>
INL void finish_scores(const Head<T>& h, i64 row, i64 from, i64 count, T* s_) {
    T* __restrict s = s_;
    const T scale = h.scale;
    if (h.bias) {
        const T* __restrict m = h.bias + row * h.mask_row + from * h.mask_col;
        if (h.mask_col == 1) for (i64 j = 0; j < count; ++j) s[j] = s[j] * scale + m[j];
        else for (i64 j = 0; j < count; ++j) s[j] = s[j] * scale + m[j * h.mask_col];
    } else if (h.allowed) {
        const unsigned char* __restrict m = h.allowed + row * h.mask_row + from * h.mask_col;
        const T none = -std::numeric_limits<T>::infinity();
        if (h.mask_col == 1) for (i64 j = 0; j < count; ++j) s[j] = m[j] ? s[j] * scale : none;
        else for (i64 j = 0; j < count; ++j) s[j] = m[j * h.mask_col] ? s[j] * scale : none;
    } else {
        for (i64 j = 0; j < count; ++j) s[j] *= scale;
    }
}

// How many of `count` keys from `from` on a query may see: those up to its own place, where causal.
template <class T>
INL i64 seen_by(const Head<T>& h, i64 row, i64 from, i64 count) {
    if (!h.causal || row + 1 >= from + count) return count;
    return row + 1 > from ? row + 1 - from : 0;
}

// The largest of a row that is not nan: a nan among the scores makes the row's sum nan, whatever is taken off.
template <class T>
INL T row_max(const T* s, i64 n) {
    constexpr int W = WIDTH<T>;
    reg<T> best = spread(-std::numeric_limits<T>::infinity());
    i64 j = 0;
    for (; j + W <= n; j += W) {
        const reg<T> x = load(s + j);
        best = x > best ? x : best;
    }
    T lane[W], found = -std::numeric_limits<T>::infinity();
    store(lane, best);
    for (int half = W / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
    found = lane[0];
    for (; j < n; ++j) found = s[j] > found ? s[j] : found;
    return found;
}

// The sum of a row of at most KEY_BLOCK weights.
template <class T>
INL T row_sum(const T* s, i64 n) {
    constexpr int W = WIDTH<T>;
    reg<T> a = spread(T(0)), b = a;
    i64 j = 0;
    for (; j + 2 * W <= n; j += 2 * W) a += load(s + j), b += load(s + j + W);
    T lane[W], rest = T(0);
    store(lane, reg<T>(a + b));
    for (int half = W / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    for (; j < n; ++j) rest += s[j];
    return lane[0] + rest;
}

// exp of what is not above 0, or is nan
template <class F> INL F exp_of_low(F x) { return exp(x); }
#ifdef MLCORE_WIDE
template <> INL Wide exp_of_low(Wide x) {
    const Split<Wide> s = split_ln2(at_least(Wide(-104.0f), x));
    return scale2(exp_poly(s.r) + Wide(1.0f), s.n);
}
#endif

// Finishes a row's scores; the largest of them that is not nan.
template <class T>
INL T finish_and_top(const Head<T>& h, i64 row, i64 from, i64 count, T* s) {
#ifdef MLCORE_WIDE
    if constexpr (sizeof(T) == 4) {
        if (!h.bias && !h.allowed) {
            Wide best(-F_INF);
            const Wide scale(h.scale);
            i64 j = 0;
            for (; j + Wide::LANES <= count; j += Wide::LANES) {
                const Wide x = Wide::load(s + j) * scale;
                x.store(s + j);
                best = at_least(x, best);
            }
            if (j < count) {
                (Wide::load(s + j, count - j) * scale).store(s + j, count - j);
                best = Tail{j, count - j}.top(s, best);
            }
            return max_lanes(best);
        }
    }
#endif
    finish_scores(h, row, from, count, s);
    return row_max(s, count);
}

// A row of scores becomes weights: exp(s - shift). Their sum.
template <class T>
INL T weigh(T* s, i64 n, T shift) {
#ifdef MLCORE_WIDE
    if constexpr (sizeof(T) == 4) {
        Wide sums[2] = {Wide(0.0f), Wide(0.0f)};
        const Wide off(shift);
        i64 j = 0;
        for (; j + 2 * Wide::LANES <= n; j += 2 * Wide::LANES) {
            const Wide a = exp_of_low(Wide::load(s + j) - off), b = exp_of_low(Wide::load(s + j + Wide::LANES) - off);
            a.store(s + j), b.store(s + j + Wide::LANES);
            sums[0] = sums[0] + a, sums[1] = sums[1] + b;
        }
        for (; j < n; j += Wide::LANES) {
            const i64 rest = n - j;
            const Wide a = exp_of_low(Wide::load(s + j, rest, -F_INF) - off);
            a.store(s + j, rest);
            sums[0] = Tail{j, rest}.plus(sums[0], a);
        }
        return sum_lanes(sums[0] + sums[1]);
    }
#endif
    for (i64 j = 0; j < n; ++j) s[j] = exp(s[j] - shift);
    return row_sum(s, n);
}

template <class T>
void forward(const Head<T>& h, i64 first, i64 rows, const T* keys, const T* values, T* scratch) {
    T top[QUERY_BLOCK];
    double total[QUERY_BLOCK];
    for (i64 r = 0; r < rows; ++r) top[r] = -std::numeric_limits<T>::infinity(), total[r] = 0;
    const i64 end = visible(h, first + rows);
    T* out = h.y + first * h.y_row;
    for (i64 from = 0; from < end; from += KEY_BLOCK, keys += key_size<T>(h.width), values += value_size<T>(h.value_width)) {
        const i64 count = least(KEY_BLOCK, h.keys - from), used = least(count, end - from);
        multiply<T>(rows, used, h.width, h.q + first * h.q_row, h.q_row, 1, keys, scratch, SCORE_ROW, false);
        for (i64 r = 0; r < rows; ++r) {
            T* __restrict s = scratch + r * SCORE_ROW;
            const i64 seen = seen_by(h, first + r, from, used);
            const T best = max(top[r], finish_and_top(h, first + r, from, seen, s)), shift = finite_or_zero(best);
            const double here = static_cast<double>(weigh(s, seen, shift));
            for (i64 j = seen; j < used; ++j) s[j] = T(0);
            if (from > 0 && best != top[r]) {
                const T correction = exp(top[r] - shift);
                T* __restrict y = out + r * h.y_row;
                for (i64 j = 0; j < h.value_width; ++j) y[j] *= correction;
                total[r] = total[r] * static_cast<double>(correction) + here;
            } else {
                total[r] += here;
            }
            top[r] = best;
        }
        // Panels hold `count` rows of values; those beyond `used` meet no weight.
        if (used == count) multiply<T>(rows, h.value_width, count, scratch, SCORE_ROW, 1, values, out, h.y_row, from > 0);
        else {
            for (i64 j = 0; j < h.value_width; j += PANEL<T>)
                multiply<T>(rows, least(PANEL<T>, h.value_width - j), used, scratch, SCORE_ROW, 1, values + j * count, out + j, h.y_row, from > 0);
        }
    }
    for (i64 r = 0; r < rows; ++r) {
        T* __restrict y = out + r * h.y_row;
        if (end == 0) for (i64 j = 0; j < h.value_width; ++j) y[j] = T(0);
        const T scale = static_cast<T>(total[r] == 0 ? 1.0 : 1.0 / total[r]);  // nothing allowed: zeros
        for (i64 j = 0; j < h.value_width; ++j) y[j] *= scale;
        h.lse[first + r] = total[r] == 0 ? -std::numeric_limits<T>::infinity()
                                         : static_cast<T>(::log(total[r]) + static_cast<double>(finite_or_zero(top[r])));
    }
}

template <class T>
i64 grad_size(i64 width, i64 value_width, i64 rows) {
    const i64 blocks = ceil_div(rows, QUERY_BLOCK);
    return 2 * QUERY_BLOCK * SCORE_ROW + 2 * key_size<T>(width > value_width ? width : value_width) + packed_size<T>(KEY_BLOCK, width) +
           blocks * (packed_size<T>(QUERY_BLOCK, width) + packed_size<T>(QUERY_BLOCK, value_width)) + rows;
}

template <class T>
void backward(const Head<T>& h, i64 first, i64 rows, i64 block, i64 blocks, T* scratch) {
    const i64 d = h.width, dv = h.value_width, q_size = packed_size<T>(QUERY_BLOCK, d), g_size = packed_size<T>(QUERY_BLOCK, dv);
    const i64 query_blocks = ceil_div(rows, QUERY_BLOCK);
    T* weights = scratch;                                   // p, then what flows into the scores
    T* other = weights + QUERY_BLOCK * SCORE_ROW;
    T* keys_t = other + QUERY_BLOCK * SCORE_ROW;            // packed: keys transposed, values transposed, keys
    T* values_t = keys_t + key_size<T>(d > dv ? d : dv);
    T* keys = values_t + key_size<T>(d > dv ? d : dv);
    T* queries = keys + packed_size<T>(KEY_BLOCK, d);       // packed, per query block
    T* grads = queries + query_blocks * q_size;
    T* delta = grads + query_blocks * g_size;
    for (i64 b = 0; b < query_blocks; ++b) {
        const i64 at = first + b * QUERY_BLOCK, count = least(QUERY_BLOCK, first + rows - at);
        pack_panels<T>(h.q + at * h.q_row, h.q_row, 1, count, d, queries + b * q_size);
        pack_panels<T>(h.g + at * h.g_row, h.g_row, 1, count, dv, grads + b * g_size);
        if (block == 0)
            for (i64 r = 0; r < count; ++r) std::memset(h.gq + (at + r) * h.gq_row, 0, static_cast<std::size_t>(d) * sizeof(T));
    }
    for (i64 r = 0; r < rows; ++r) {
        const T *__restrict g = h.g + (first + r) * h.g_row, *__restrict y = h.y + (first + r) * h.y_row;
        delta[r] = static_cast<T>(sum_of<T>(dv, [&](i64 j) { return g[j] * y[j]; }));
    }
    for (i64 kb = block; kb < block + blocks; ++kb) {
        const i64 from = kb * KEY_BLOCK, count = least(KEY_BLOCK, h.keys - from);
        pack_panels<T>(h.k + from * h.k_row, 1, h.k_row, d, count, keys_t);
        pack_panels<T>(h.v + from * h.v_row, 1, h.v_row, dv, count, values_t);
        pack_panels<T>(h.k + from * h.k_row, h.k_row, 1, count, d, keys);
        T *gk = h.gk + from * h.gk_row, *gv = h.gv + from * h.gv_row;
        for (i64 r = 0; r < count; ++r) {
            std::memset(gk + r * h.gk_row, 0, static_cast<std::size_t>(d) * sizeof(T));
            std::memset(gv + r * h.gv_row, 0, static_cast<std::size_t>(dv) * sizeof(T));
        }
        for (i64 b = 0; b < query_blocks; ++b) {
            const i64 at = first + b * QUERY_BLOCK, n = least(QUERY_BLOCK, first + rows - at);
            if (h.causal && from > at + n - 1) continue;  // above the diagonal
            multiply<T>(n, count, d, h.q + at * h.q_row, h.q_row, 1, keys_t, weights, SCORE_ROW, false);
            for (i64 r = 0; r < n; ++r) {
                T* s = weights + r * SCORE_ROW;
                const i64 seen = seen_by(h, at + r, from, count);
                const T shift = finite_or_zero(h.lse[at + r]);
                if (h.bias || h.allowed) {
                    finish_scores(h, at + r, from, seen, s);
                    each_of<T>(seen, [&](auto on) { on.put(s, exp(on(s) - shift)); });
                } else {
                    each_of<T>(seen, [&](auto on) {
                        using V = typename decltype(on)::V;
                        on.put(s, exp(on(s) * V(h.scale) - V(shift)));
                    });
                }
                for (i64 j = seen; j < count; ++j) s[j] = T(0);
            }
            multiply<T>(count, dv, n, weights, 1, SCORE_ROW, grads + b * g_size, gv, h.gv_row, true);
            multiply<T>(n, count, dv, h.g + at * h.g_row, h.g_row, 1, values_t, other, SCORE_ROW, false);
            for (i64 r = 0; r < n; ++r) {
                T* __restrict s = weights + r * SCORE_ROW;
                const T* __restrict o = other + r * SCORE_ROW;
                const T sum = delta[at - first + r], scale = h.scale;
                const i64 seen = seen_by(h, at + r, from, count);
                for (i64 j = 0; j < seen; ++j) s[j] = s[j] * (o[j] - sum) * scale;
            }
            multiply<T>(n, d, count, weights, SCORE_ROW, 1, keys, h.gq + at * h.gq_row, h.gq_row, true);
            multiply<T>(count, d, n, weights, 1, SCORE_ROW, queries + b * q_size, gk, h.gk_row, true);
        }
    }
}

template <class T>
void add(const T* x_, i64 rows, i64 width, T* y_, i64 y_row) {
    for (i64 r = 0; r < rows; ++r) {
        const T* __restrict x = x_ + r * width;
        T* __restrict y = y_ + r * y_row;
        for (i64 j = 0; j < width; ++j) y[j] += x[j];
    }
}

template <class T>
AttentionLoops<T> loops() {
    return {&key_size<T>, &value_size<T>, &grad_size<T>, &pack<T>, &forward<T>, &backward<T>, &add<T>};
}

}  // namespace

const AttentionTable* attention_table() {
    static const AttentionTable attention{loops<float>(), loops<double>()};
    return &attention;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
