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

}  // namespace

Status run_recurrent(RecurrentOp op, int dtype, const RecurrentArrays& a) {
    return typed(dtype, [&](auto type) {
        using T = decltype(type);
        const bool back = op == RecurrentOp::lstm_grad || op == RecurrentOp::gru_grad || op == RecurrentOp::rnn_grad;
        const i64 wide = a.gates * a.hidden, k = back ? wide : a.hidden, n = back ? a.hidden : wide;
        const i64 extra = op == RecurrentOp::gru ? a.batch * wide : 0, packed = loops<T>().packed(k, n);
        Scratch memory((packed + extra) * static_cast<i64>(sizeof(T)));
        if (memory.failed()) return NO_MEMORY;
        T* weight = memory.get<T>();
        const T* given = in<T>(a.weight);
        if (back) loops<T>().pack(given, a.hidden, 1, k, n, weight);
        else loops<T>().pack(given, 1, a.hidden, k, n, weight);
        if (op == RecurrentOp::gru_grad) {  // n's rows apart: the gradients they meet are not next to the others
            const i64 h = a.hidden;
            loops<T>().pack(given, h, 1, 2 * h, h, weight);
            loops<T>().pack(given + 2 * h * h, h, 1, h, h, weight + loops<T>().packed(2 * h, h));
        }
        const Recurrent<T> r{a.steps, a.batch, a.hidden, a.reverse, weight, in<T>(a.h0), in<T>(a.c0), in<T>(a.inputs), in<T>(a.bias_n),
                             out<T>(a.activations), out<T>(a.states), out<T>(a.cells), weight + packed, in<T>(a.g), out<T>(a.inner),
                             out<T>(a.gh), out<T>(a.gc), a.relu};
        const auto loop = loop_of<T>(op);
        if (a.steps * a.batch * k * n < SMALL) {
            loop(r, 0, a.steps, 0, a.batch);
            return OK;
        }
        const i64 stretch = std::max<i64>(1, STRETCH / std::max<i64>(1, ROWS * k * n));
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
