cimport cython

from mlcore.dispatch cimport Op, binary
from mlcore.tape cimport finish
from mlcore.tensor cimport Node, TensorBase, new_node, wrap

cdef int EXTRA, GRADIENT, INPUT, MASK, OUTPUT, PARAM, SHAPE

@cython.locals(node=Node, other=Node, stack=list, order=list, seen=set)
cdef list _reachable(list roots)

@cython.locals(node=Node, leaf=TensorBase)
cdef _drain(dict pending, list waiting, set wanted, set goal, dict found, bint retain, bint create)

cdef _receive(object key, object gradient, dict pending, list waiting)

@cython.locals(above=Node, i=Py_ssize_t)
cdef _queue(list heap, Node node)

@cython.locals(last=Node, first=Node, below=Node, other=Node, size=Py_ssize_t, i=Py_ssize_t, child=Py_ssize_t)
cdef Node _take(list heap)

@cython.locals(op=Op, i=int, count=int, edges=tuple, rules=tuple, needs=tuple)
cdef _step(Node node, object gradient, dict pending, list waiting, set wanted, bint create)

cdef _hand_over(Node node, int i, object gradient, dict pending, list waiting)

@cython.locals(count=int)
cdef _call_rule(object rule, Node node, list plan, object gradient, bint create)

cdef list _arguments(Node node, list plan, object gradient, bint create, tuple needs)

@cython.locals(kind=int, i=int, op=Op)
cdef _argument(Node node, tuple source, object gradient, bint create, tuple needs)

@cython.locals(shape=tuple)
cdef _kept(Node node, int i)

@cython.locals(kept=TensorBase, leaf=TensorBase)
cdef _connected(object saved, object edge, bint create)

cdef _accumulate(TensorBase leaf, TensorBase gradient, bint create)

cdef _free(Node node)
