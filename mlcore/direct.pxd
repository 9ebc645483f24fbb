cimport cython

from mlcore.backends.device cimport Device
from mlcore.dispatch cimport Op, apply, execute, go_on, new_plan
from mlcore.dtype cimport DType
from mlcore.modes cimport Modes
from mlcore.table cimport Entry, Plan, look_up, recall_one, recall_two, remember
from mlcore.tape cimport finish, record_one, record_two
from mlcore.tensor cimport Node, TensorBase, new_node, wrap

cdef Modes MODES

cpdef call_one(Op op, object x, tuple given)
@cython.locals(device=Device, table=list, found=Entry, plan=Plan, values=tuple)
cdef _one(Op op, TensorBase x, tuple given)
@cython.locals(plan=Plan)
cdef Plan _find_one(Op op, Entry found, TensorBase x, tuple asked)
cpdef call_view(Op op, object x, tuple shape, tuple values)
@cython.locals(device=Device, table=list, found=Entry, node=Node)
cdef _view(Op op, TensorBase x, tuple shape, tuple values)
cpdef call_matrices(Op op, TensorBase x, TensorBase y)
cpdef call_two(Op op, object x, object y)
@cython.locals(device=Device, table=list, found=Entry, plan=Plan)
cdef _two(Op op, TensorBase x, TensorBase y)
@cython.locals(plan=Plan)
cdef Plan _find_two(Op op, Entry found, TensorBase x, TensorBase y)
