cimport cython

from mlcore.backends.device cimport Device
from mlcore.dtype cimport DType
from mlcore.modes cimport Modes
from mlcore.op cimport OpFacts
from mlcore.table cimport Entry, entry
from mlcore.tensor cimport TensorBase

cdef Modes MODES
cdef long long LARGEST

@cython.locals(one=TensorBase, found=list, gradients_=list)
cpdef tuple graded(list parameters)

@cython.locals(one=TensorBase)
cpdef clear(list parameters)

@cython.locals(first=TensorBase, one=TensorBase, gradient=TensorBase, i="Py_ssize_t", size="long long", total="long long")
cpdef list buckets(list parameters, list gradients, list keys=*, long long largest=*)

@cython.locals(i="Py_ssize_t", done=list, filling=dict)
cdef list _sorted(list parameters, list gradients, list keys, long long largest)

@cython.locals(first=TensorBase, one=TensorBase, found=Entry, arrays=list, column=list, at="Py_ssize_t", replaced="Py_ssize_t")
cpdef run(OpFacts op, list columns, tuple values, bint follow=*)

cdef _call(object op, list columns, tuple values)

cdef _take(list columns, object made)
