cdef class Modes:
    cdef public int special
    cdef public object local
    cdef public object lock
    cpdef count(self, int change)
