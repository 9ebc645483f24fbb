from mlcore.backends.device cimport Device
from mlcore.dtype cimport DType
from mlcore.op cimport OpFacts

cdef class Entry:
    cdef public object kernel
    cdef public object origin
    cdef public list by_dtype
    cdef public dict plans
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
