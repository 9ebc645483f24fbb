cimport cython

@cython.auto_pickle(False)
cdef class Called:
    pass

@cython.locals(found=list)
cpdef list members_of(object module, object kind)
