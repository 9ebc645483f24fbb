# Recurrent layers: dense float32 or float64 arrays, prepared by recurrent.py.

cdef int recurrent_shape(RecurrentArrays* r, str name, cnp.ndarray sequence, cnp.ndarray w_hh, int gates, h0, bint reverse) except -1:
    """The sizes from a sequence (T, N, width) and w_hh (gates * H, H), and what every layer has."""
    r.steps, r.batch, r.hidden, r.gates = cnp.PyArray_DIM(sequence, 0), cnp.PyArray_DIM(sequence, 1), cnp.PyArray_DIM(w_hh, 1), gates
    expect(name, "w_hh", w_hh, (gates * r.hidden, r.hidden))
    expect(name, "h0", h0, (r.batch, r.hidden))
    r.reverse, r.relu = reverse, False
    r.weight, r.h0 = cnp.PyArray_DATA(w_hh), pointer(h0)
    r.c0 = r.inputs = r.bias_n = r.g = NULL
    r.activations = r.states = r.cells = r.inner = r.gh = r.gc = NULL
    r.x = r.w_ih = r.bias = NULL
    r.features = r.x_step = r.x_row = 0
    return 0


cdef int recurrent_run(RecurrentOp op, RecurrentArrays* r, cnp.ndarray out) except -1:
    cdef int work = code_of(out)
    cdef Status status
    if cnp.PyArray_SIZE(out) == 0:
        return 0
    with nogil:
        status = run_recurrent(op, work, r[0])
    return check(status, out)


def lstm_forward(cnp.ndarray gates, cnp.ndarray w_hh, h0, c0, bint reverse):
    """(states and the last cell (T + 1, N, H), gates, cells); `gates` (T, N, 4H) holds the inputs and is overwritten."""
    cdef RecurrentArrays r
    recurrent_shape(&r, "lstm_layer", gates, w_hh, 4, h0, reverse)
    return lstm_run(&r, gates, c0)


def lstm_fused(x, cnp.ndarray w_ih, cnp.ndarray w_hh, bias, h0, c0, bint reverse):
    """The same from the input x (T, N, F) and its weight (4H, F)."""
    cdef cnp.ndarray a = dense_rows(x, code_of(w_hh))
    cdef RecurrentArrays r
    cdef i64 item = cnp.PyArray_ITEMSIZE(a)
    recurrent_shape(&r, "lstm_layer", a, w_hh, 4, h0, reverse)
    r.features = cnp.PyArray_DIM(a, 2)
    expect("lstm_layer", "w_ih", w_ih, (4 * r.hidden, r.features))
    expect("lstm_layer", "the bias", bias, (4 * r.hidden,))
    r.x, r.w_ih, r.bias = cnp.PyArray_DATA(a), cnp.PyArray_DATA(w_ih), pointer(bias)
    r.x_step, r.x_row = cnp.PyArray_STRIDE(a, 0) // item, cnp.PyArray_STRIDE(a, 1) // item
    return lstm_run(&r, new_shaped(code_of(w_hh), (r.steps, r.batch, 4 * r.hidden)), c0)


cdef tuple lstm_run(RecurrentArrays* r, cnp.ndarray gates, c0):
    """lstm_layer's results; `gates` is one of them."""
    expect("lstm_layer", "gates", gates, (r.steps, r.batch, 4 * r.hidden))
    expect("lstm_layer", "c0", c0, (r.batch, r.hidden))
    cdef int work = code_of(gates)
    cdef cnp.ndarray y = new_shaped(work, (r.steps + 1, r.batch, r.hidden)), cells = new_shaped(work, (r.steps, r.batch, r.hidden))
    r.c0 = pointer(c0)
    r.activations, r.states, r.cells = cnp.PyArray_DATA(gates), cnp.PyArray_DATA(y), cnp.PyArray_DATA(cells)
    recurrent_run(RECURRENT_LSTM, r, y)
    return y, gates, cells


def lstm_backward(cnp.ndarray g, cnp.ndarray w_hh, cnp.ndarray gates, cnp.ndarray cells, c0, bint reverse):
    """(gradient of what goes into the gates, of the first state, of the first cell)."""
    cdef RecurrentArrays r
    recurrent_shape(&r, "lstm_layer_grad", cells, w_hh, 4, None, reverse)
    expect("lstm_layer_grad", "gates", gates, (r.steps, r.batch, 4 * r.hidden))
    expect("lstm_layer_grad", "cells", cells, (r.steps, r.batch, r.hidden))
    expect("lstm_layer_grad", "the gradient", g, (r.steps + 1, r.batch, r.hidden))
    expect("lstm_layer_grad", "c0", c0, (r.batch, r.hidden))
    cdef int work = code_of(g)
    cdef cnp.ndarray inner = new_shaped(work, (r.steps, r.batch, 4 * r.hidden))
    cdef cnp.ndarray gh = new_shaped(work, (r.batch, r.hidden)), gc = new_shaped(work, (r.batch, r.hidden))
    r.c0, r.g = pointer(c0), cnp.PyArray_DATA(g)
    r.activations, r.cells = cnp.PyArray_DATA(gates), cnp.PyArray_DATA(cells)
    r.inner, r.gh, r.gc = cnp.PyArray_DATA(inner), cnp.PyArray_DATA(gh), cnp.PyArray_DATA(gc)
    recurrent_run(RECURRENT_LSTM_GRAD, &r, inner)
    return inner, gh, gc


def gru_forward(cnp.ndarray inputs, cnp.ndarray w_hh, bias_n, h0, bint reverse):
    """(states (T, N, H), gates (T, N, 4H)) from `inputs` (T, N, 3H)."""
    cdef RecurrentArrays r
    recurrent_shape(&r, "gru_layer", inputs, w_hh, 3, h0, reverse)
    expect("gru_layer", "inputs", inputs, (r.steps, r.batch, 3 * r.hidden))
    expect("gru_layer", "the bias of n", bias_n, (r.hidden,))
    cdef int work = code_of(inputs)
    cdef cnp.ndarray y = new_shaped(work, (r.steps, r.batch, r.hidden)), gates = new_shaped(work, (r.steps, r.batch, 4 * r.hidden))
    r.inputs, r.bias_n = cnp.PyArray_DATA(inputs), pointer(bias_n)
    r.activations, r.states = cnp.PyArray_DATA(gates), cnp.PyArray_DATA(y)
    recurrent_run(RECURRENT_GRU, &r, y)
    return y, gates


def gru_backward(cnp.ndarray g, cnp.ndarray w_hh, cnp.ndarray gates, cnp.ndarray y, h0, bint reverse):
    """(gradient of what goes into r, z, n and of n's recurrent part, of the first state)."""
    cdef RecurrentArrays r
    recurrent_shape(&r, "gru_layer_grad", y, w_hh, 3, h0, reverse)
    expect("gru_layer_grad", "gates", gates, (r.steps, r.batch, 4 * r.hidden))
    expect("gru_layer_grad", "the states", y, (r.steps, r.batch, r.hidden))
    expect("gru_layer_grad", "the gradient", g, (r.steps, r.batch, r.hidden))
    cdef int work = code_of(g)
    cdef cnp.ndarray inner = new_shaped(work, (r.steps, r.batch, 4 * r.hidden)), gh = new_shaped(work, (r.batch, r.hidden))
    r.g, r.activations, r.states = cnp.PyArray_DATA(g), cnp.PyArray_DATA(gates), cnp.PyArray_DATA(y)
    r.inner, r.gh = cnp.PyArray_DATA(inner), cnp.PyArray_DATA(gh)
    recurrent_run(RECURRENT_GRU_GRAD, &r, inner)
    return inner, gh


def rnn_forward(cnp.ndarray states, cnp.ndarray w_hh, h0, bint relu, bint reverse):
    """The states (T, N, H); `states` holds the inputs and is overwritten."""
    cdef RecurrentArrays r
    recurrent_shape(&r, "rnn_layer", states, w_hh, 1, h0, reverse)
    expect("rnn_layer", "inputs", states, (r.steps, r.batch, r.hidden))
    r.relu, r.states = relu, cnp.PyArray_DATA(states)
    recurrent_run(RECURRENT_RNN, &r, states)
    return states


def rnn_backward(cnp.ndarray g, cnp.ndarray w_hh, cnp.ndarray y, bint relu, bint reverse):
    """(gradient of what goes into the nonlinearity, of the first state)."""
    cdef RecurrentArrays r
    recurrent_shape(&r, "rnn_layer_grad", y, w_hh, 1, None, reverse)
    expect("rnn_layer_grad", "the states", y, (r.steps, r.batch, r.hidden))
    expect("rnn_layer_grad", "the gradient", g, (r.steps, r.batch, r.hidden))
    cdef int work = code_of(g)
    cdef cnp.ndarray inner = new_shaped(work, (r.steps, r.batch, r.hidden)), gh = new_shaped(work, (r.batch, r.hidden))
    r.relu, r.g, r.states = relu, cnp.PyArray_DATA(g), cnp.PyArray_DATA(y)
    r.inner, r.gh = cnp.PyArray_DATA(inner), cnp.PyArray_DATA(gh)
    recurrent_run(RECURRENT_RNN_GRAD, &r, inner)
    return inner, gh


def dense(x):
    """`x` (or None) as a C-ordered float32 or float64 array: 16-bit floats widen."""
    return None if x is None else contiguous(x, work_code(code_of(array_of(x))))
