cdef class Modes:
    cdef public int special
    cdef public object local
    cdef public object lock
    cpdef count(self, int change)

cdef bint COMPILED

cdef class recording:
    cdef public bint flag
    cdef public list before

cdef class no_grad(recording):
    pass

cdef class enable_grad(recording):
    pass
