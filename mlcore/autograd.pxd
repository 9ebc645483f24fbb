cimport cython

from mlcore.dispatch cimport Op
from mlcore.tensor cimport Node, TensorBase, new_node, wrap

cdef int DTYPE, EXTRA, GRADIENT, INPUT, MASK, OUTPUT, PARAM, SHAPE

@cython.locals(node=Node, other=Node, stack=list, order=list, seen=set)
cdef list _reachable(list roots)

@cython.locals(op=Op, i=int, count=int, some="bint", edges=tuple, needs=list)
cdef _step(Node node, object gradient, dict pending, set wanted, bint create)

cdef _hand_over(Node node, int i, object gradient, dict pending)

@cython.locals(op=Op, kind=int, i=int, values=list)
cdef list _arguments(Node node, list plan, object gradient, bint create, list needs)

cdef _connected(object saved, object edge, bint create)

cdef _free(Node node)
