from mlcore.backends.device cimport Device
from mlcore.dtype cimport DType
from mlcore.op cimport OpFacts

cdef class Plan

cdef class Entry:
    cdef public object kernel
    cdef public object origin
    cdef public list by_dtype
    cdef public dict plans
    cdef public Plan last
    cdef public tuple last_shape
    cdef public DType last_dtype
    cdef public object last_given
    cpdef native(self, DType dtype)

cdef class Plan:
    cdef public object kernel
    cdef public tuple given
    cdef public tuple outs
    cdef public tuple values
    cdef public tuple shape
    cdef public DType dtype
    cdef public bint single
    cdef public bint large

cpdef Entry entry(OpFacts op, Device device)
