cdef class DType:
    cdef public str name
    cdef public str kind
    cdef public object numpy
    cdef public int itemsize
    cdef public int index
