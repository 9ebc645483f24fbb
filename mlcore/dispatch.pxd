cimport cython

from mlcore.backends.device cimport Device
from mlcore.dtype cimport DType
from mlcore.inputs cimport check_memory, constant, prepare
from mlcore.modes cimport Modes
from mlcore.op cimport OpFacts
from mlcore.table cimport Entry, Plan, entry
from mlcore.tape cimport record, record_binary, record_unary
from mlcore.tensor cimport TensorBase, wrap

cdef Modes MODES

cdef class Op(OpFacts):
    cpdef call(self, tuple args, dict kwargs)

cdef class UnaryOp(Op):
    pass

cdef class BinaryOp(Op):
    pass

cpdef unary(Op op, object x)

@cython.locals(device=Device, dtype=DType, table=list, found=Entry, result=DType)
cdef _unary(Op op, TensorBase x)

cpdef binary(Op op, object x, object y)

@cython.locals(device=Device, dtype=DType, table=list, found=Entry, result=DType, shape=tuple)
cdef _binary(Op op, TensorBase x, TensorBase y)

@cython.locals(kind=str)
cdef _scaled(Op op, TensorBase x, object value)

cpdef apply(Op op, tuple raw, dict params, object device=*)
cdef _start(Op op, tuple inputs, dict params, Device device, DType dtype)
@cython.locals(one=TensorBase, known=dict)
cdef Plan _plan(Op op, tuple inputs, dict params, Device device, DType dtype)
cpdef Plan remember(dict known, object key, Plan plan)
cpdef Plan new_plan(Op op, tuple inputs, dict params, Device device, DType dtype)
cdef _run(Op op, tuple inputs, dict params, Device device, DType dtype)
@cython.locals(one=TensorBase, values=tuple, result=DType, shape=tuple)
cpdef execute(Op op, Plan plan, tuple inputs, Device device, DType dtype)
@cython.locals(first=TensorBase)
cdef _several(Op op, Plan plan, object made, tuple inputs, bint record_it, Device device)
cpdef refused(Op op, Plan plan, Device device, object error)
