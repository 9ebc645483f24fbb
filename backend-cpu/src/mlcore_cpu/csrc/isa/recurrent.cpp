// Recurrent layers: a small matrix product and a fused cell for each step, forward and backward.
#include "../recurrent.hpp"
#include "isa_tables.hpp"
#include "micro.hpp"

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
        if (old) multiply<T>(rows, wide, h, old, h, 1, r.weight, r.gates + at * wide, wide, true);
        for (i64 n = 0; n < rows; ++n) {
            T* __restrict i = r.gates + (at + n) * wide;
            T *__restrict f = i + h, *__restrict g = f + h, *__restrict o = g + h;
            T *__restrict c = r.cells + (at + n) * h, *__restrict y = r.states + (at + n) * h;
            for (i64 j = 0; j < h; ++j) i[j] = sigmoid(i[j]);
            for (i64 j = 0; j < h; ++j) f[j] = sigmoid(f[j]);
            for (i64 j = 0; j < h; ++j) g[j] = tanh(g[j]);
            for (i64 j = 0; j < h; ++j) o[j] = sigmoid(o[j]);
            if (old_cells) {
                const T* __restrict before = old_cells + n * h;
                for (i64 j = 0; j < h; ++j) c[j] = f[j] * before[j] + i[j] * g[j];
            } else {
                for (i64 j = 0; j < h; ++j) c[j] = i[j] * g[j];
            }
            for (i64 j = 0; j < h; ++j) y[j] = o[j] * tanh(c[j]);
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
            const T* __restrict i = r.gates + (at + n) * wide;
            const T *__restrict f = i + h, *__restrict k = f + h, *__restrict o = k + h, *__restrict c = r.cells + (at + n) * h;
            const T* __restrict g = r.g + (at + n) * h;
            T *__restrict gh = r.gh + (row + n) * h, *__restrict gc = r.gc + (row + n) * h;
            T* __restrict gi = r.inner + (at + n) * wide;
            T *__restrict gf = gi + h, *__restrict gk = gf + h, *__restrict go = gk + h;
            for (i64 j = 0; j < h; ++j) {
                const T top = tanh(c[j]), d = gh[j] + g[j];
                go[j] = d * top * (o[j] * (T(1) - o[j]));
                gc[j] += d * o[j] * (T(1) - top * top);
            }
            if (old_cells) {
                const T* __restrict before = old_cells + n * h;
                for (i64 j = 0; j < h; ++j) gf[j] = gc[j] * before[j] * (f[j] * (T(1) - f[j]));
            } else {
                for (i64 j = 0; j < h; ++j) gf[j] = f[j] * T(0);
            }
            for (i64 j = 0; j < h; ++j) {
                gi[j] = gc[j] * k[j] * (i[j] * (T(1) - i[j]));
                gk[j] = gc[j] * i[j] * (T(1) - k[j] * k[j]);
                gc[j] *= f[j];
            }
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
            const T *__restrict x = r.inputs + (at + n) * 3 * h, *__restrict p = products + n * 3 * h, *__restrict bias = r.bias_n;
            T* __restrict reset = r.gates + (at + n) * 4 * h;
            T *__restrict z = reset + h, *__restrict k = z + h, *__restrict hn = k + h, *__restrict y = r.states + (at + n) * h;
            for (i64 j = 0; j < h; ++j) reset[j] = sigmoid(x[j] + p[j]);
            for (i64 j = 0; j < h; ++j) z[j] = sigmoid(x[h + j] + p[h + j]);
            if (bias) for (i64 j = 0; j < h; ++j) hn[j] = p[2 * h + j] + bias[j];
            else for (i64 j = 0; j < h; ++j) hn[j] = p[2 * h + j];
            for (i64 j = 0; j < h; ++j) k[j] = tanh(x[2 * h + j] + reset[j] * hn[j]);
            if (old) {
                const T* __restrict before = old + n * h;
                for (i64 j = 0; j < h; ++j) y[j] = k[j] + z[j] * (before[j] - k[j]);
            } else {
                for (i64 j = 0; j < h; ++j) y[j] = k[j] - z[j] * k[j];
            }
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
            const T* __restrict reset = r.gates + (at + n) * 4 * h;
            const T *__restrict z = reset + h, *__restrict k = z + h, *__restrict hn = k + h, *__restrict g = r.g + (at + n) * h;
            T *__restrict gh = r.gh + (row + n) * h, *__restrict gr = r.inner + (at + n) * 4 * h;
            T *__restrict gz = gr + h, *__restrict gk = gz + h, *__restrict gp = gk + h;
            if (old) {
                const T* __restrict before = old + n * h;
                for (i64 j = 0; j < h; ++j) gz[j] = (gh[j] + g[j]) * (before[j] - k[j]) * (z[j] * (T(1) - z[j]));
            } else {
                for (i64 j = 0; j < h; ++j) gz[j] = (gh[j] + g[j]) * -k[j] * (z[j] * (T(1) - z[j]));
            }
            for (i64 j = 0; j < h; ++j) {
                const T d = gh[j] + g[j], inner = d * (T(1) - z[j]) * (T(1) - k[j] * k[j]);
                gk[j] = inner;
                gp[j] = inner * reset[j];
                gr[j] = inner * hn[j] * (reset[j] * (T(1) - reset[j]));
                gh[j] = d * z[j];
            }
        }
        multiply<T>(rows, h, 2 * h, r.inner + at * 4 * h, 4 * h, 1, r.weight, r.gh + row * h, h, true);
        multiply<T>(rows, h, h, r.inner + at * 4 * h + 3 * h, 4 * h, 1, last, r.gh + row * h, h, true);
    }
}

template <class T>
void rnn(const Recurrent<T>& r, i64 from, i64 count, i64 row, i64 rows) {
    const i64 h = r.hidden;
    for (i64 place = from; place < from + count; ++place) {
        T* __restrict y = r.states + (step_at(r, place) * r.batch + row) * h;
        const T* old = state_before<T>(r, place, r.states, r.h0, row);
        if (old) multiply<T>(rows, h, h, old, h, 1, r.weight, y, h, true);
        if (r.relu) for (i64 j = 0; j < rows * h; ++j) y[j] = max(y[j], T(0));
        else for (i64 j = 0; j < rows * h; ++j) y[j] = tanh(y[j]);
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
    return {&packed<T>, &pack_panels<T>, &lstm<T>, &lstm_grad<T>, &gru<T>, &gru_grad<T>, &rnn<T>, &rnn_grad<T>};
}

}  // namespace

const RecurrentTable* recurrent_table() {
    static const RecurrentTable recurrent{loops<float>(), loops<double>()};
    return &recurrent;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
