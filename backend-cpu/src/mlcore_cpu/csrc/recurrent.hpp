// Recurrent layers, forward and back through time. A task has some rows of the batch and walks through all steps, so
// no step waits for another thread. Work is float or double; 16-bit floats are converted by the caller.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

// Arrays are dense: states (N, H), sequences (T, N, width). `weight` is packed by the loops' own `pack`.
template <class T>
struct Recurrent {
    i64 steps, batch, hidden;
    bool reverse;
    const T* weight;  // forward: w_hh transposed (H, gates * H); backward: w_hh (gates * H, H)
    const T* h0;      // or null: zeros
    const T* c0;
    // LSTM forward: gates, states and cells are results. With x, `weight` has w_ih's panels before w_hh's, and bias as
    // many values as a row of panels; without, gates hold x @ w_ih.T + biases at first.
    // GRU: inputs hold x @ w_ih.T + biases (3H), gates (4H) are a result, bias_n is the recurrent bias of n or null.
    // RNN: states hold the inputs at first.
    const T* inputs;
    const T* bias_n;
    T* gates;
    T* states;
    T* cells;
    T* scratch;  // GRU forward: (N, 3H)
    // backward: g (T, N, H) of the states, the result, and the gradient that flows to the step before
    const T* g;
    T* inner;
    T* gh;
    T* gc;
    bool relu;  // RNN
    const T* x;  // LSTM forward: features of each step and row, `x_step` and `x_row` apart; or null
    i64 features, x_step, x_row;
    const T* bias;
};

// Steps [from, from + count) in the order of the walk, rows [row, row + rows).
template <class T> using RecurrentLoop = void (*)(const Recurrent<T>& r, i64 from, i64 count, i64 row, i64 rows);

template <class T>
struct RecurrentLoops {
    i64 panel;                    // columns of a packed panel
    i64 (*packed)(i64 k, i64 n);  // values that a packed (k, n) matrix takes
    void (*pack)(const T* b, i64 rs, i64 cs, i64 k, i64 n, T* to);
    RecurrentLoop<T> lstm, lstm_grad, gru, gru_grad, rnn, rnn_grad;
};
struct RecurrentTable {
    RecurrentLoops<float> f32;
    RecurrentLoops<double> f64;
};

enum class RecurrentOp { lstm, lstm_grad, gru, gru_grad, rnn, rnn_grad };
struct RecurrentArrays {  // untyped, as Recurrent; `weight` is w_hh (gates * H, H) as it is
    i64 steps, batch, hidden, gates;
    bool reverse, relu;
    const void *weight, *h0, *c0, *inputs, *bias_n, *g;
    void *activations, *states, *cells, *inner, *gh, *gc;
    const void *x, *w_ih, *bias;  // LSTM forward, or null; w_ih is (4H, features)
    i64 features, x_step, x_row;  // strides in elements
};
Status run_recurrent(RecurrentOp op, int dtype, const RecurrentArrays& a);

}  // namespace mlcore_cpu
