cimport cython

from mlcore.backends.device cimport Device
from mlcore.dtype cimport DType
from mlcore.inputs cimport check_memory, constant, prepare
from mlcore.lines cimport user_line
from mlcore.modes cimport Modes
from mlcore.op cimport OpFacts
from mlcore.table cimport Entry, Plan, entry
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

@cython.locals(kind=str)
cdef _scaled(Op op, TensorBase x, object value)

cpdef apply(Op op, tuple raw, dict params, object device=*)
cdef _start(Op op, tuple inputs, dict params, Device device, DType dtype)
@cython.locals(one=TensorBase, known=dict)
cdef Plan _plan(Op op, tuple inputs, dict params, Device device, DType dtype)
cdef Plan _remember(dict known, object key, Plan plan)
cdef Plan _new_plan(Op op, tuple inputs, dict params, Device device, DType dtype)
cpdef call_one(Op op, object x, tuple given)
@cython.locals(device=Device, table=list, found=Entry, plan=Plan, values=tuple, shape=tuple)
cdef _one(Op op, TensorBase x, tuple given)
@cython.locals(plan=Plan)
cdef Plan _find_one(Op op, Entry found, TensorBase x, tuple given)
cpdef call_view(Op op, object x, tuple shape, tuple values)
@cython.locals(device=Device, table=list, found=Entry, node=Node)
cdef _view(Op op, TensorBase x, tuple shape, tuple values)
cpdef call_two(Op op, object x, object y)
@cython.locals(device=Device, table=list, found=Entry, plan=Plan)
cdef _two(Op op, TensorBase x, TensorBase y)
cdef _keep_last(Entry found, TensorBase x, object given, Plan plan)
@cython.locals(plan=Plan)
cdef Plan _find_two(Op op, Entry found, TensorBase x, TensorBase y)
cdef _run(Op op, tuple inputs, dict params, Device device, DType dtype)
@cython.locals(one=TensorBase, values=tuple, result=DType, shape=tuple)
cdef _execute(Op op, Plan plan, tuple inputs, Device device, DType dtype)
@cython.locals(first=TensorBase)
cdef _several(Op op, Plan plan, object made, tuple inputs, bint record_it, Device device)

cdef long long OUTPUT_BIT, EXTRA_BIT, INPUT_BITS
cdef tuple _NOTHING

cdef _finish(Node node, long long need, object array, Device device, DType dtype, tuple shape)
@cython.locals(need="long long", saved=tuple)
cdef _record_unary(Op op, object array, Device device, DType dtype, TensorBase x)
@cython.locals(need="long long", saved=tuple, node=Node)
cdef _record_one(Op op, Plan plan, object array, TensorBase x)
@cython.locals(need="long long", node=Node)
cdef _record_two(Op op, Plan plan, object array, TensorBase x, TensorBase y)
@cython.locals(need="long long", node=Node)
cdef Node _two_edges(Op op, TensorBase x, TensorBase y)
@cython.locals(need="long long", node=Node)
cdef _record_binary(Op op, object array, Device device, DType dtype, tuple shape, TensorBase x, TensorBase y)

@cython.locals(one=TensorBase, other=TensorBase, need="long long", first=TensorBase, second=TensorBase, i=int, count=int, found=list, saved=list, masks=list, variadic="bint", node=Node)
cpdef record(Op op, object array, Device device, DType dtype, tuple shape, tuple inputs, tuple params, tuple extra)
