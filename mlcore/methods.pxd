cimport cython

from mlcore.direct cimport call_one, call_two, call_view
from mlcore.dispatch cimport Op, binary, unary
from mlcore.tensor cimport TensorBase

cdef bint _is_float(TensorBase x)
cdef bint _are_matrices(object x, object y)
cdef Py_ssize_t _rank(TensorBase x)
cdef tuple _EVERYTHING

@cython.locals(size=Py_ssize_t)
cdef _row(Op op, TensorBase x, Py_ssize_t index)

@cython.locals(size=Py_ssize_t, first=Py_ssize_t, last=Py_ssize_t, rest=tuple)
cdef _rows(Op op, TensorBase x, object start, object stop, object step)
