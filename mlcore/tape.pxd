cimport cython

from mlcore.backends.device cimport Device
from mlcore.dtype cimport DType
from mlcore.lines cimport user_line
from mlcore.modes cimport Modes
from mlcore.op cimport OpFacts
from mlcore.table cimport Plan
from mlcore.tensor cimport Node, TensorBase, new_node, wrap, wrap_recorded

cdef Modes MODES
cdef long long _serial
cdef long long OUTPUT_BIT, EXTRA_BIT, INPUT_BITS
cdef tuple NOTHING

cpdef finish(Node node, long long need, object array, Device device, DType dtype, tuple shape)
@cython.locals(need="long long", saved=tuple)
cpdef record_unary(OpFacts op, object array, Device device, DType dtype, TensorBase x)
@cython.locals(need="long long", saved=tuple, node=Node)
cpdef record_one(OpFacts op, Plan plan, object array, TensorBase x)
@cython.locals(need="long long", node=Node)
cpdef record_two(OpFacts op, Plan plan, object array, TensorBase x, TensorBase y)
@cython.locals(need="long long", node=Node)
cdef Node _two_edges(OpFacts op, TensorBase x, TensorBase y, bint bare)
@cython.locals(need="long long", node=Node)
cpdef record_binary(OpFacts op, object array, Device device, DType dtype, tuple shape, TensorBase x, TensorBase y)

@cython.locals(one=TensorBase, other=TensorBase, need="long long", first=TensorBase, second=TensorBase, i=int, count=int, found=list, saved=list, masks=list, variadic="bint", node=Node)
cpdef record(OpFacts op, object array, Device device, DType dtype, tuple shape, tuple inputs, tuple params, tuple extra)
