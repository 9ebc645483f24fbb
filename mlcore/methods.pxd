cimport cython

from mlcore.direct cimport call_matrices, call_one, call_view
from mlcore.dispatch cimport Op, binary, unary
from mlcore.tensor cimport TensorBase

cdef extern from *:
    """
    static PyObject *mlcore_new_reference(PyObject *one) { Py_INCREF(one); return one; }
    #define mlcore_slice_start(index) mlcore_new_reference(((PySliceObject *)(index))->start)
    #define mlcore_slice_stop(index) mlcore_new_reference(((PySliceObject *)(index))->stop)
    #define mlcore_slice_step(index) mlcore_new_reference(((PySliceObject *)(index))->step)
    """
    object slice_start "mlcore_slice_start" (object index)
    object slice_stop "mlcore_slice_stop" (object index)
    object slice_step "mlcore_slice_step" (object index)

cdef bint _is_float(TensorBase x)
cdef tuple _EVERYTHING

@cython.locals(size=Py_ssize_t)
cdef _row(Op op, TensorBase x, Py_ssize_t index)

@cython.locals(size=Py_ssize_t, first=Py_ssize_t, last=Py_ssize_t, rest=tuple)
cdef _rows(Op op, TensorBase x, object start, object stop, object step)
