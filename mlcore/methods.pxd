cimport cython

from mlcore.dispatch cimport Op, binary, call_one, call_two, call_view, unary
from mlcore.tensor cimport TensorBase

cdef bint _is_float(TensorBase x)
cdef bint _are_matrices(TensorBase x, TensorBase y)

@cython.locals(size=Py_ssize_t)
cdef _row(Op op, TensorBase x, Py_ssize_t index)

@cython.locals(size=Py_ssize_t, first=Py_ssize_t, last=Py_ssize_t, rest=tuple)
cdef _rows(Op op, TensorBase x, object start, object stop, object step)
