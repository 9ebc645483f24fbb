cdef class OpFacts:
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
    cdef public long long mask
    cdef public long long second_mask
    cdef public object accepts
    cdef public object promoted
    cdef public object rule
    cdef public object body
    cdef public object check
    cdef public tuple params
    cdef public tuple unasked
    cdef public list result
    cdef public list masks
    cdef public object plans
    cdef public object vjps
    cdef public object vjp_all
    cdef dict __dict__
    cdef object __weakref__
    cpdef bind(self, tuple args, dict kwargs)
