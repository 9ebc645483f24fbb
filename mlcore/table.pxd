from mlcore.backends.device cimport Device
from mlcore.dtype cimport DType
from mlcore.op cimport OpFacts

cdef class Entry:
    cdef public object kernel
    cdef public object origin
    cdef public list by_dtype
    cpdef native(self, DType dtype)

cpdef Entry entry(OpFacts op, Device device)
