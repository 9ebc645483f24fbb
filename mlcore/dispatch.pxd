from mlcore.tensor cimport Node, TensorBase, wrap, wrap_recorded

cdef int _special
cdef long long _serial
cdef object _state
cdef dict _internal

cdef class Op:
    cdef public str name
    cdef public int index
    cdef public int n_inputs
    cdef public bint differentiable
    cdef public bint elementwise
    cdef public bint variadic
    cdef public bint listed
    cdef public bint cacheable
    cdef public bint casts_integers
    cdef public bint needs_shapes
    cdef public object accepts
    cdef public object promoted
    cdef public object rule
    cdef public object body
    cdef public object check
    cdef public dict cache
    cdef public list result
    cdef public list masks
    cdef public object plans
    cdef public object vjps
    cdef public object vjp_all
    cdef dict __dict__
    cdef object __weakref__
    cpdef call(self, args, kwargs)

cdef class UnaryOp(Op):
    pass

cdef class BinaryOp(Op):
    pass

cdef class Entry:
    cdef public object kernel
    cdef public object origin
    cdef public list by_dtype
    cpdef native(self, dtype)

cpdef unary(Op op, object x)
cdef _unary(Op op, TensorBase x)
cpdef binary(Op op, object x, object y)
cdef _binary(Op op, TensorBase x, TensorBase y)
cpdef constant(object value, object dtype, object device)
cpdef apply(Op op, tuple raw, dict params, object device=*)
cdef _infer(Op op, tuple inputs, dict params)
cdef _run(Op op, tuple inputs, dict params, object device, object dtype)
cpdef record(Op op, object array, object device, object dtype, tuple shape, tuple inputs, tuple params, tuple extra)
cpdef user_line()
