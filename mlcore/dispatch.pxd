cimport cython

from mlcore.backends.device cimport Device
from mlcore.dtype cimport DType
from mlcore.lines cimport user_line
from mlcore.modes cimport Modes
from mlcore.op cimport OpFacts
from mlcore.table cimport Entry, entry
from mlcore.tensor cimport Node, TensorBase, new_node, wrap, wrap_recorded

cdef Modes MODES
cdef long long _serial

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

cpdef apply(Op op, tuple raw, dict params, object device=*)
cdef _start(Op op, tuple inputs, dict params, Device device, DType dtype)
cdef _infer(Op op, tuple inputs, dict params)
cdef _run(Op op, tuple inputs, dict params, Device device, DType dtype)

cdef long long OUTPUT_BIT, EXTRA_BIT, INPUT_BITS
cdef tuple _NOTHING

@cython.locals(one=TensorBase, other=TensorBase, need="long long", first=TensorBase, second=TensorBase, i=int, count=int, found=list, saved=list, masks=list, variadic="bint", node=Node)
cpdef record(Op op, object array, Device device, DType dtype, tuple shape, tuple inputs, tuple params, tuple extra)
