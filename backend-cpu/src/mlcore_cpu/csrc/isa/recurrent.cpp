// Recurrent layers: a small matrix product and a fused cell for each step, forward and backward.
#include "../recurrent.hpp"
#include "gates.hpp"
#include "isa_tables.hpp"
#include "micro.hpp"
#include "rows.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

// The step at a place of the walk, forward in time or (reverse) backward; and the step before it in that order.
template <class T> INL i64 step_at(const Recurrent<T>& r, i64 place) { return r.reverse ? r.steps - 1 - place : place; }

// The state that a step starts from: of the step before, the first one, or null (zeros).
template <class T>
INL const T* state_before(const Recurrent<T>& r, i64 place, const T* states, const T* first, i64 row) {
    if (place > 0) return states + (step_at(r, place - 1) * r.batch + row) * r.hidden;
    return first ? first + row * r.hidden : nullptr;
}

template <class T>
void lstm(const Recurrent<T>& r, i64 from, i64 count, i64 row, i64 rows) {
    const i64 h = r.hidden, wide = 4 * h;
    for (i64 place = from; place < from + count; ++place) {
        const i64 at = step_at(r, place) * r.batch + row;
        const T* old = state_before<T>(r, place, r.states, r.h0, row);
        const T* old_cells = state_before<T>(r, place, r.cells, r.c0, row);
        if (r.x) {
            const Left<T> x{r.x + step_at(r, place) * r.x_step + row * r.x_row, r.x_row, 1, r.features}, state{old, h, 1, old ? h : 0};
            multiply_two<T>(rows, wide, x, state, r.weight, r.bias, r.gates + at * wide, wide, r.features + h);
        } else if (old) {
            multiply<T>(rows, wide, h, old, h, 1, r.weight, r.gates + at * wide, wide, true);
        }
        for (i64 n = 0; n < rows; ++n) {
            T* gates = r.gates + (at + n) * wide;
            T *cells = r.cells + (at + n) * h, *states = r.states + (at + n) * h;
            const T* before = old_cells ? old_cells + n * h : nullptr;
            each_of<T>(h, [&](auto on) {
                using V = typename decltype(on)::V;
                const V i = gate_sigmoid(on(gates)), f = gate_sigmoid(on(gates + h)), g = gate_tanh(on(gates + 2 * h));
                const V o = gate_sigmoid(on(gates + 3 * h)), c = before ? f * on(before) + i * g : i * g;
                on.put(gates, i), on.put(gates + h, f), on.put(gates + 2 * h, g), on.put(gates + 3 * h, o);
                on.put(cells, c);
            });
            // Apart: a tanh that waits for its cell leaves nothing to do beside it.
            each_of<T>(h, [&](auto on) { on.put(states, on(gates + 3 * h) * gate_tanh(on(cells))); });
        }
        if (place == r.steps - 1) {  // the last cell is the last row of the result
            std::memcpy(r.states + (r.steps * r.batch + row) * h, r.cells + at * h, static_cast<std::size_t>(rows * h) * sizeof(T));
        }
    }
}

template <class T>
void lstm_grad(const Recurrent<T>& r, i64 from, i64 count, i64 row, i64 rows) {
    const i64 h = r.hidden, wide = 4 * h;
    if (from == 0) {
        std::memset(r.gh + row * h, 0, static_cast<std::size_t>(rows * h) * sizeof(T));
        std::memcpy(r.gc + row * h, r.g + (r.steps * r.batch + row) * h, static_cast<std::size_t>(rows * h) * sizeof(T));
    }
    for (i64 place = r.steps - 1 - from; place > r.steps - 1 - from - count; --place) {
        const i64 at = step_at(r, place) * r.batch + row;
        const T* old_cells = state_before<T>(r, place, static_cast<const T*>(r.cells), r.c0, row);
        for (i64 n = 0; n < rows; ++n) {
            const T *gates = r.gates + (at + n) * wide, *cells = r.cells + (at + n) * h, *g = r.g + (at + n) * h;
            const T* before = old_cells ? old_cells + n * h : nullptr;
            T *gh = r.gh + (row + n) * h, *gc = r.gc + (row + n) * h, *inner = r.inner + (at + n) * wide;
            each_of<T>(h, [&](auto on) {
                using V = typename decltype(on)::V;
                const V i = on(gates), f = on(gates + h), k = on(gates + 2 * h), o = on(gates + 3 * h), one = V(T(1));
                const V top = gate_tanh(on(cells)), d = on(gh) + on(g), c = on(gc) + d * o * (one - top * top);
                on.put(inner, c * k * (i * (one - i)));
                on.put(inner + h, before ? c * on(before) * (f * (one - f)) : f * V(T(0)));
                on.put(inner + 2 * h, c * i * (one - k * k));
                on.put(inner + 3 * h, d * top * (o * (one - o)));
                on.put(gc, c * f);
            });
        }
        multiply<T>(rows, h, wide, r.inner + at * wide, wide, 1, r.weight, r.gh + row * h, h, false);
    }
}

template <class T>
void gru(const Recurrent<T>& r, i64 from, i64 count, i64 row, i64 rows) {
    const i64 h = r.hidden;
    T* products = r.scratch + row * 3 * h;
    for (i64 place = from; place < from + count; ++place) {
        const i64 at = step_at(r, place) * r.batch + row;
        const T* old = state_before<T>(r, place, r.states, r.h0, row);
        if (old) multiply<T>(rows, 3 * h, h, old, h, 1, r.weight, products, 3 * h, false);
        else std::memset(products, 0, static_cast<std::size_t>(rows * 3 * h) * sizeof(T));
        for (i64 n = 0; n < rows; ++n) {
            const T *x = r.inputs + (at + n) * 3 * h, *p = products + n * 3 * h, *bias = r.bias_n;
            const T* before = old ? old + n * h : nullptr;
            T *gates = r.gates + (at + n) * 4 * h, *states = r.states + (at + n) * h;
            each_of<T>(h, [&](auto on) {
                using V = typename decltype(on)::V;
                const V reset = gate_sigmoid(on(x) + on(p)), z = gate_sigmoid(on(x + h) + on(p + h));
                const V hn = bias ? on(p + 2 * h) + on(bias) : on(p + 2 * h), k = gate_tanh(on(x + 2 * h) + reset * hn);
                on.put(gates, reset), on.put(gates + h, z), on.put(gates + 2 * h, k), on.put(gates + 3 * h, hn);
                on.put(states, before ? k + z * (on(before) - k) : k - z * k);
            });
        }
    }
}

template <class T>
void gru_grad(const Recurrent<T>& r, i64 from, i64 count, i64 row, i64 rows) {
    const i64 h = r.hidden;
    if (from == 0) std::memset(r.gh + row * h, 0, static_cast<std::size_t>(rows * h) * sizeof(T));
    const T* last = r.weight + packed_size<T>(2 * h, h);  // of n's rows: packed apart, the gradients are not neighbours
    for (i64 place = r.steps - 1 - from; place > r.steps - 1 - from - count; --place) {
        const i64 at = step_at(r, place) * r.batch + row;
        const T* old = state_before<T>(r, place, static_cast<const T*>(r.states), r.h0, row);
        for (i64 n = 0; n < rows; ++n) {
            const T *gates = r.gates + (at + n) * 4 * h, *g = r.g + (at + n) * h;
            const T* before = old ? old + n * h : nullptr;
            T *gh = r.gh + (row + n) * h, *inner = r.inner + (at + n) * 4 * h;
            each_of<T>(h, [&](auto on) {
                using V = typename decltype(on)::V;
                const V reset = on(gates), z = on(gates + h), k = on(gates + 2 * h), hn = on(gates + 3 * h), one = V(T(1));
                const V d = on(gh) + on(g), gk = d * (one - z) * (one - k * k);
                on.put(inner, gk * hn * (reset * (one - reset)));
                on.put(inner + h, d * (before ? on(before) - k : -k) * (z * (one - z)));
                on.put(inner + 2 * h, gk), on.put(inner + 3 * h, gk * reset);
                on.put(gh, d * z);
            });
        }
        multiply<T>(rows, h, 2 * h, r.inner + at * 4 * h, 4 * h, 1, r.weight, r.gh + row * h, h, true);
        multiply<T>(rows, h, h, r.inner + at * 4 * h + 3 * h, 4 * h, 1, last, r.gh + row * h, h, true);
    }
}

template <class T>
void rnn(const Recurrent<T>& r, i64 from, i64 count, i64 row, i64 rows) {
    const i64 h = r.hidden;
    for (i64 place = from; place < from + count; ++place) {
        T* y = r.states + (step_at(r, place) * r.batch + row) * h;
        const T* old = state_before<T>(r, place, r.states, r.h0, row);
        if (old) multiply<T>(rows, h, h, old, h, 1, r.weight, y, h, true);
        if (r.relu) for (i64 j = 0; j < rows * h; ++j) y[j] = max(y[j], T(0));
        else each_of<T>(rows * h, [&](auto on) { on.put(y, gate_tanh(on(y))); });
    }
}

template <class T>
void rnn_grad(const Recurrent<T>& r, i64 from, i64 count, i64 row, i64 rows) {
    const i64 h = r.hidden;
    if (from == 0) std::memset(r.gh + row * h, 0, static_cast<std::size_t>(rows * h) * sizeof(T));
    for (i64 place = r.steps - 1 - from; place > r.steps - 1 - from - count; --place) {
        const i64 at = (step_at(r, place) * r.batch + row) * h;
        const T *__restrict y = r.states + at, *__restrict g = r.g + at, *__restrict gh = r.gh + row * h;
        T* __restrict inner = r.inner + at;
        if (r.relu) for (i64 j = 0; j < rows * h; ++j) inner[j] = y[j] > T(0) ? gh[j] + g[j] : T(0);
        else for (i64 j = 0; j < rows * h; ++j) inner[j] = (gh[j] + g[j]) * (T(1) - y[j] * y[j]);
        multiply<T>(rows, h, h, inner, h, 1, r.weight, r.gh + row * h, h, false);
    }
}

template <class T> i64 packed(i64 k, i64 n) { return packed_size<T>(k, n); }

template <class T>
RecurrentLoops<T> loops() {
    return {PANEL<T>, &packed<T>, &pack_panels<T>, &lstm<T>, &lstm_grad<T>, &gru<T>, &gru_grad<T>, &rnn<T>, &rnn_grad<T>};
}

}  // namespace

const RecurrentTable* recurrent_table() {
    static const RecurrentTable recurrent{loops<float>(), loops<double>()};
    return &recurrent;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
