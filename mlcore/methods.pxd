cimport cython

from mlcore.dispatch cimport Op, binary, call_one, call_two, unary
from mlcore.tensor cimport TensorBase

cdef bint _is_float(TensorBase x)
cdef bint _are_matrices(TensorBase x, TensorBase y)

@cython.locals(size=Py_ssize_t, at=Py_ssize_t)
cdef _row(Op op, TensorBase x, object index)

@cython.locals(size=Py_ssize_t)
cdef _rows(Op op, TensorBase x, object start, object stop, object step)
