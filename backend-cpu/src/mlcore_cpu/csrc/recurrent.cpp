// Driver of the recurrent layers: packs the weight once, then rows of the batch as tasks, a stretch of steps at a time.
#include "recurrent.hpp"

#include "alloc.hpp"
#include "drivers.hpp"

namespace mlcore_cpu {
namespace {

template <class T> const RecurrentLoops<T>& loops();
template <> const RecurrentLoops<float>& loops<float>() { return table().recurrent->f32; }
template <> const RecurrentLoops<double>& loops<double>() { return table().recurrent->f64; }

constexpr i64 SMALL = 100'000;         // multiplications that are not worth another thread
constexpr i64 ROWS = 8;                 // of the batch in a task: one register tile
constexpr i64 STRETCH = 100'000'000;    // multiplications a task does before Ctrl-C is looked for

// f(task) for all tasks, on this thread alone where the work is small.
template <class F>
Status each(i64 tasks, i64 operations, F&& f) {
    if (operations >= SMALL) return parallel_for(tasks, f);
    for (i64 i = 0; i < tasks; ++i) f(i);
    return OK;
}

template <class T>
RecurrentLoop<T> loop_of(RecurrentOp op) {
    const auto& l = loops<T>();
    switch (op) {
        case RecurrentOp::lstm: return l.lstm;
        case RecurrentOp::lstm_grad: return l.lstm_grad;
        case RecurrentOp::gru: return l.gru;
        case RecurrentOp::gru_grad: return l.gru_grad;
        case RecurrentOp::rnn: return l.rnn;
        default: return l.rnn_grad;
    }
}

// The weights as the loops want them: (deep, n), a panel of columns at a time.
template <class T>
Status pack_weights(RecurrentOp op, const RecurrentArrays& a, i64 deep, i64 n, T* to) {
    const auto& l = loops<T>();
    const T *given = in<T>(a.weight), *inputs = in<T>(a.w_ih);
    const i64 h = a.hidden;
    if (op == RecurrentOp::gru_grad) {  // n's rows apart: the gradients they meet are not next to the others
        l.pack(given, h, 1, 2 * h, h, to);
        l.pack(given + 2 * h * h, h, 1, h, h, to + l.packed(2 * h, h));
        return OK;
    }
    if (op == RecurrentOp::lstm_grad || op == RecurrentOp::rnn_grad) {
        l.pack(given, h, 1, deep, n, to);
        return OK;
    }
    return each(ceil_div(n, l.panel), deep * n, [&](i64 panel) {
        const i64 from = panel * l.panel, width = std::min(l.panel, n - from);
        T* at = to + from * deep;
        if (a.features) l.pack(inputs + from * a.features, 1, a.features, a.features, width, at);
        l.pack(given + from * h, 1, h, h, width, at + a.features * l.panel);
    });
}

}  // namespace

Status run_recurrent(RecurrentOp op, int dtype, const RecurrentArrays& a) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        const bool back = op == RecurrentOp::lstm_grad || op == RecurrentOp::gru_grad || op == RecurrentOp::rnn_grad;
        const i64 wide = a.gates * a.hidden, k = back ? wide : a.hidden, n = back ? a.hidden : wide, deep = k + a.features;
        const i64 extra = op == RecurrentOp::gru ? a.batch * wide : a.x ? loops<T>().packed(1, n) : 0, packed = loops<T>().packed(deep, n);
        Scratch memory((packed + extra) * static_cast<i64>(sizeof(T)));
        if (memory.failed()) return NO_MEMORY;
        T *weight = memory.get<T>(), *behind = weight + packed;
        const Status ready = pack_weights(op, a, deep, n, weight);
        if (ready != OK) return ready;
        if (a.x) {
            for (i64 j = 0; j < extra; ++j) behind[j] = a.bias && j < n ? in<T>(a.bias)[j] : T(0);
        }
        const Recurrent<T> r{a.steps, a.batch, a.hidden, a.reverse, weight, in<T>(a.h0), in<T>(a.c0), in<T>(a.inputs), in<T>(a.bias_n),
                             out<T>(a.activations), out<T>(a.states), out<T>(a.cells), behind, in<T>(a.g), out<T>(a.inner),
                             out<T>(a.gh), out<T>(a.gc), a.relu, in<T>(a.x), a.features, a.x_step, a.x_row, behind};
        const auto loop = loop_of<T>(op);
        if (a.steps * a.batch * deep * n < SMALL) {
            loop(r, 0, a.steps, 0, a.batch);
            return OK;
        }
        const i64 stretch = std::max<i64>(1, STRETCH / std::max<i64>(1, ROWS * deep * n));
        for (i64 from = 0; from < a.steps; from += stretch) {
            const i64 count = std::min(stretch, a.steps - from);
            const Status status = parallel_for(ceil_div(a.batch, ROWS), [&](i64 task) {
                loop(r, from, count, task * ROWS, std::min(ROWS, a.batch - task * ROWS));
            });
            if (status != OK) return status;
        }
        return OK;
    });
}

}  // namespace mlcore_cpu
