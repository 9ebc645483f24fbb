cdef class Device:
    cdef public str type
    cdef public int index
    cdef public str id
    cdef public object info
    cdef public object backend
    cdef public list table
    cdef public dict constants
    cdef object __weakref__
