# What the C++ side and the C APIs of Python and NumPy offer.
import os

import numpy as np

cimport cython
cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_INCREF
from libc.math cimport INFINITY
from libc.string cimport memcmp, memcpy, strcmp
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

cnp.import_array()

cdef extern from "Python.h":
    ctypedef PyObject* (*vectorcallfunc)(PyObject*, PyObject**, size_t, PyObject*)
    ctypedef PyObject* (*ternaryfunc)(PyObject*, PyObject*, PyObject*)
    ctypedef struct PyTypeObject:
        Py_ssize_t tp_vectorcall_offset
        unsigned long tp_flags
        ternaryfunc tp_call
    unsigned long Py_TPFLAGS_HAVE_VECTORCALL
    Py_ssize_t PyVectorcall_NARGS(size_t)
    PyObject* PyVectorcall_Call(PyObject*, PyObject*, PyObject*)
    void PyType_Modified(PyTypeObject*)
    PyObject* PyList_GET_ITEM(object, Py_ssize_t) noexcept  # borrowed
    int PyErr_CheckSignals_ "PyErr_CheckSignals"() noexcept

cdef extern from "common.hpp" namespace "mlcore_cpu" nogil:
    ctypedef long long i64 "mlcore_cpu::i64"
    enum Status "mlcore_cpu::Status":
        OK "mlcore_cpu::OK"
        INTERRUPTED "mlcore_cpu::INTERRUPTED"
        NO_MEMORY "mlcore_cpu::NO_MEMORY"
        UNSUPPORTED "mlcore_cpu::UNSUPPORTED"
        OUT_OF_RANGE "mlcore_cpu::OUT_OF_RANGE"
    enum:
        BOOL "mlcore_cpu::BOOL"
        I8 "mlcore_cpu::I8"
        I32 "mlcore_cpu::I32"
        I64 "mlcore_cpu::I64"
        U32 "mlcore_cpu::U32"
        F16 "mlcore_cpu::F16"
        BF16 "mlcore_cpu::BF16"
        F32 "mlcore_cpu::F32"
        F64 "mlcore_cpu::F64"
        N_DTYPES "mlcore_cpu::N_DTYPES"
        N_REAL "mlcore_cpu::N_REAL"
        MAX_NDIM "mlcore_cpu::MAX_NDIM"
    const int* ITEMSIZE "mlcore_cpu::ITEMSIZE"
    cdef cppclass View:
        char* data
        int dtype
        int ndim
        i64* shape
        i64* strides
        i64 size()
        cbool contiguous()

cdef extern from "pool.hpp" namespace "mlcore_cpu" nogil:
    int c_get_num_threads "mlcore_cpu::get_num_threads"()
    void c_set_num_threads "mlcore_cpu::set_num_threads"(int)
    cppclass Patient:
        Patient()
    ctypedef cbool (*PollHook)()
    void set_poll_hook(PollHook)

cdef extern from "alloc.hpp" namespace "mlcore_cpu" nogil:
    const i64 CACHE_FROM
    cppclass Piece:
        pass
    Piece* block_alloc(i64)
    void block_free(Piece*)
    void* block_data(const Piece*)
    cbool fail_here()
    i64 c_fail_allocation "mlcore_cpu::fail_allocation" (i64)
    struct AllocStats:
        i64 in_use, peak, reserved, limit, allocations, cache_hits
    AllocStats c_alloc_stats "mlcore_cpu::alloc_stats"()
    void c_set_memory_limit "mlcore_cpu::set_memory_limit"(i64)
    i64 c_trim_cache "mlcore_cpu::trim_cache"(i64)
    void c_reset_peak "mlcore_cpu::reset_peak"()

cdef extern from "tables.hpp" namespace "mlcore_cpu" nogil:
    ctypedef void (*UnaryLoop)(const void*, void*, i64) noexcept nogil
    ctypedef void (*BinaryLoop)(const void*, const void*, void*, i64, int) noexcept nogil
    struct UnaryEntry:
        const char* name
        int in_ "in"
        int out
        UnaryLoop loop
    struct BinaryEntry:
        const char* name
        int in_ "in"
        int out
        BinaryLoop loop
    struct ReduceEntry:
        const char* name
        int in_ "in"
        int out
    struct ArgEntry:
        const char* name
        int in_ "in"
    cppclass Table:
        const char* isa
        const UnaryEntry* unary
        int n_unary
        const BinaryEntry* binary
        int n_binary
        const ReduceEntry* reduce
        int n_reduce
        const ArgEntry* arg
        int n_arg
        UnaryLoop cast[13][13]
        void (*select[5])(const unsigned char*, const char*, const char*, char*, i64)
        const ChainTable* chain
    ctypedef void (*ChainLoop)(const void*, const void*, void*, i64, const void*, const void*, const void*) noexcept nogil
    struct ChainEntry:
        const char* name
        const char* left
        const char* right
        int dtype
        ChainLoop loop
    struct ChainTable:
        const ChainEntry* entries
        int n
    const Table& table()
    int log2_itemsize(int)
    const char* choose_isa(const char*)

cdef extern from "elementwise.hpp" namespace "mlcore_cpu" nogil:
    const i64 INLINE_BELOW
    Status run_unary(UnaryLoop, int, int, const View&, const View&)
    Status run_binary(BinaryLoop, int, int, const View&, const View&, const View&)
    Status run_where(const View&, const View&, const View&, const View&)
    Status run_copy(const View&, const View&)

cdef extern from "reduce.hpp" namespace "mlcore_cpu" nogil:
    Status run_reduce(const ReduceEntry&, const View&, const cbool*, char*, int, double)
    Status run_arg(const ArgEntry&, const View&, int, i64*)

cdef extern from "gemm.hpp" namespace "mlcore_cpu" nogil:
    cbool run_small_matmul(int, i64, i64, i64, const char*, i64, i64, const char*, i64, i64, const char*, char*)
    Status run_matmul(const View&, const View&, const View*, const View&)

cdef extern from "dnn.hpp" namespace "mlcore_cpu" nogil:
    cbool dnn_available()
    const char* dnn_version()

cdef extern from "convolution.hpp" namespace "mlcore_cpu" nogil:
    cppclass ConvShape:
        int spatial
        i64 n, c, o, groups
        i64* in_ "in"
        i64* kernel
        i64* out
        i64* stride
        i64* dilation
        i64* pad_lo
        i64* pad_hi
    cppclass Activation:
        const char* data
        cbool planes
    cppclass Finish:
        const float* scale
        const float* shift
        cbool bounded
        float low, high
    cbool is_pointwise(const ConvShape&)
    Status run_finish(const Finish&, float*, i64, i64)
    void fold_norm(const float*, const float*, const float*, const float*, const float*, i64, double, float*, float*)
    Status dnn_conv_forward(const ConvShape&, int, Activation, const char*, const char*, char*, const Finish*)
    Status dnn_conv_grad_input(const ConvShape&, int, Activation, const char*, char*)
    Status dnn_conv_grad_weight(const ConvShape&, int, Activation, Activation, float*)

cdef extern from "pointwise.hpp" namespace "mlcore_cpu" nogil:
    cbool pointwise_serves(const ConvShape&, int)
    Status pointwise_forward(const ConvShape&, const char*, const char*, const char*, char*, const Finish*)
    Status pointwise_grad_input(const ConvShape&, const char*, const char*, char*)
    Status pointwise_grad_weight(const ConvShape&, const char*, const char*, char*)

cdef extern from "depthwise.hpp" namespace "mlcore_cpu" nogil:
    cbool depthwise_serves(const ConvShape&, int)
    Status depthwise_forward(const ConvShape&, const char*, const char*, const char*, char*, const Finish*)
    Status depthwise_grad_input(const ConvShape&, const char*, const char*, char*)
    Status depthwise_grad_weight(const ConvShape&, const char*, const char*, char*)

cdef extern from "winograd.hpp" namespace "mlcore_cpu" nogil:
    cppclass WinogradUse:
        pass
    WinogradUse _set_winograd "mlcore_cpu::set_winograd"(WinogradUse)
    cbool winograd_serves(const ConvShape&, int)
    Status winograd_forward(const ConvShape&, int, Activation, const char*, const char*, char*)
    Status winograd_grad_input(const ConvShape&, int, Activation, const char*, char*)
    Status winograd_grad_weight(const ConvShape&, int, Activation, Activation, float*)

cdef extern from "recurrent.hpp" namespace "mlcore_cpu" nogil:
    enum RecurrentOp "mlcore_cpu::RecurrentOp":
        RECURRENT_LSTM "mlcore_cpu::RecurrentOp::lstm"
        RECURRENT_LSTM_GRAD "mlcore_cpu::RecurrentOp::lstm_grad"
        RECURRENT_GRU "mlcore_cpu::RecurrentOp::gru"
        RECURRENT_GRU_GRAD "mlcore_cpu::RecurrentOp::gru_grad"
        RECURRENT_RNN "mlcore_cpu::RecurrentOp::rnn"
        RECURRENT_RNN_GRAD "mlcore_cpu::RecurrentOp::rnn_grad"
    cppclass RecurrentArrays:
        i64 steps, batch, hidden, gates
        cbool reverse, relu
        const void* weight
        const void* h0
        const void* c0
        const void* inputs
        const void* bias_n
        const void* g
        void* activations
        void* states
        void* cells
        void* inner
        void* gh
        void* gc
        const void* x
        const void* w_ih
        const void* bias
        i64 features, x_step, x_row
    Status run_recurrent(RecurrentOp, int, const RecurrentArrays&)

cdef extern from "attention.hpp" namespace "mlcore_cpu" nogil:
    cppclass AttentionArrays:
        View q, k, v, mask, y, g, gq, gk, gv
        cbool masked, causal
        double scale
        void* lse
    Status run_attention(const AttentionArrays&)
    Status run_attention_grad(const AttentionArrays&)

cdef extern from "order.hpp" namespace "mlcore_cpu" nogil:
    Status run_order(int, const void*, i64, i64, i64, cbool, i64*, void*)
    Status run_search(int, const void*, i64, const void*, i64, cbool, i64*)
    Status run_scan(int, const void*, void*, i64, i64, i64, cbool)

cdef extern from "rms_norm.hpp" namespace "mlcore_cpu" nogil:
    Status run_rms_norm(int, const void*, const void*, void*, void*, i64, i64, double)
    Status run_rms_norm_grad(int, const void*, const void*, const void*, const void*, void*, void*, i64, i64)

cdef extern from "fused.hpp" namespace "mlcore_cpu" nogil:
    cppclass AdamParams:
        double lr, beta1, beta2, eps, weight_decay
        cbool decoupled
        i64 step
    cppclass SgdParams:
        double lr, momentum, dampening, weight_decay
        cbool nesterov, first
    struct StepArrays:
        const void* p
        const void* g
        const void* m
        const void* v
        void* p2
        void* m2
        void* v2
        i64 n
    enum RowOp "mlcore_cpu::RowOp":
        ROW_SOFTMAX "mlcore_cpu::RowOp::softmax"
        ROW_LOG_SOFTMAX "mlcore_cpu::RowOp::log_softmax"
        ROW_LOGSUMEXP "mlcore_cpu::RowOp::logsumexp"
    Status run_rows(RowOp, int, const void*, void*, i64, i64)
    Status run_rows_grad(RowOp, int, const void*, const void*, void*, i64, i64)
    Status run_cross_entropy(int, const void*, const i64*, void*, void*, i64, i64)
    Status run_cross_entropy_grad(int, const void*, const void*, const i64*, const void*, void*, i64, i64)
    Status run_layer_norm(int, const void*, const void*, const void*, void*, void*, void*, i64, i64, double)
    Status run_layer_norm_grad(int, const void*, const void*, const void*, const void*, const void*, void*, void*, void*, i64, i64)
    Status run_dropout(int, const void*, void*, i64, unsigned int, unsigned int, unsigned long long, double)
    Status run_squared_error(int, const void*, const void*, void*, i64, double)
    Status run_squared_error_grad(int, const void*, const void*, const void*, void*, i64, double)
    Status run_threefry(unsigned int, unsigned int, unsigned long long, unsigned int*, i64)
    Status run_adam(int, const StepArrays*, i64, const AdamParams&)
    Status run_sgd(int, const StepArrays*, i64, const SgdParams&)

cdef extern from "chain.hpp" namespace "mlcore_cpu" nogil:
    enum ChainKind "mlcore_cpu::ChainKind":
        CHAIN_ARITHMETIC "mlcore_cpu::ChainKind::arithmetic"
        CHAIN_UNARY "mlcore_cpu::ChainKind::unary"
        CHAIN_BINARY "mlcore_cpu::ChainKind::binary"
        CHAIN_SELECT "mlcore_cpu::ChainKind::select"
        CHAIN_COPY "mlcore_cpu::ChainKind::copy"
        CHAIN_FILL "mlcore_cpu::ChainKind::fill"
    struct ChainStep:
        ChainKind kind
        int to
        int from_ "from"[5]
        int mode
        int itemsize
        ChainLoop arithmetic
        UnaryLoop unary
        BinaryLoop binary
    cppclass Chain:
        vector[ChainStep] once
        vector[ChainStep] steps
        vector[int] itemsizes
        vector[int] number_dtypes
        int inputs, outputs, slots, widest
        i64 block
        cbool finish()
    cppclass ChainArrays:
        const Chain* chain
        const double* numbers
        void** of
        i64 n
    Status run_chains(const ChainArrays*, i64)

cdef extern from "indexing.hpp" namespace "mlcore_cpu" nogil:
    i64 TRUE_STRETCH
    Status run_check_indices(const i64*, i64, i64)
    Status run_gather(const char*, const i64*, char*, i64, i64, i64, i64)
    Status run_index_add(int, const void*, void*, const i64*, const void*, i64, i64, i64, i64)
    Status run_scatter(const char*, char*, const i64*, const char*, i64, i64, i64, i64)
    Status run_take_along(int, const void*, const i64*, void*, i64, i64, i64, i64)
    Status run_sum_along(int, const void*, const i64*, void*, i64, i64, i64, i64)
    Status run_count_true(const unsigned char*, i64, i64*)
    Status run_where_true(const unsigned char*, i64, int, const i64*, const i64*, i64* const*)

cdef extern from "channels.hpp" namespace "mlcore_cpu" nogil:
    ctypedef enum Follow "mlcore_cpu::Follow":
        FOLLOW_NOTHING "mlcore_cpu::NOTHING"
        FOLLOW_RELU "mlcore_cpu::RELU"
        FOLLOW_RELU6 "mlcore_cpu::RELU6"
    Status run_batch_norm(int, const void*, const void*, const void*, void*, void*, void*, i64, i64, i64, double, Follow)
    Status run_batch_norm_scale(int, const void*, const void*, const void*, const void*, const void*, void*, i64, i64, i64, double, Follow)
    void run_batch_norm_running(int, const void*, const void*, const void*, const void*, void*, void*, i64, double, double, double)
    Status run_batch_norm_grad(int, const void*, const void*, const void*, const void*, const void*, const void*, void*, void*, void*, i64, i64, i64, Follow)

cdef extern from "pooling.hpp" namespace "mlcore_cpu" nogil:
    cppclass PoolShape:
        i64 outer, inner
        i64* in_ "in"
        i64* out
        i64* kernel
        i64* stride
        i64* dilation
        i64* pad_lo
        cbool include_pad
    enum PoolOp "mlcore_cpu::PoolOp":
        POOL_MAX "mlcore_cpu::PoolOp::max"
        POOL_AVERAGE "mlcore_cpu::PoolOp::average"
    Status run_pool(PoolOp, int, const PoolShape&, const void*, void*)
    Status run_pool_grad(PoolOp, int, const PoolShape&, const void*, const void*, void*)
