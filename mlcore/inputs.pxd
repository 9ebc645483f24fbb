cimport cython

from mlcore.backends.device cimport Device
from mlcore.dtype cimport DType
from mlcore.op cimport OpFacts
from mlcore.tensor cimport TensorBase, wrap

cdef Py_ssize_t _LARGE

@cython.locals(known=dict)
cpdef TensorBase constant(object value, DType dtype, Device device)

@cython.locals(count="double")
cpdef bint is_large(tuple shape)

cpdef check_memory(str what, tuple shape, DType dtype, Device device)

cpdef tuple prepare(OpFacts op, tuple raw)
