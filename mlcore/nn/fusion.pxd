cimport cython

@cython.locals(i=Py_ssize_t, count=Py_ssize_t, taken=Py_ssize_t)
cpdef run(list members, object input)
cdef bint _plain(object module)
cdef Py_ssize_t _norm(list members, Py_ssize_t i)
