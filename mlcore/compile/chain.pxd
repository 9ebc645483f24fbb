cdef class _Number:
    cdef public object value
    cdef public object dtype
