cdef class Entry:
    cdef public object kernel
    cdef public object origin
    cdef public list by_dtype
    cpdef native(self, dtype)
