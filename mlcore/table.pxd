cimport cython

from mlcore.backends.device cimport Device
from mlcore.dtype cimport DType
from mlcore.op cimport OpFacts
from mlcore.tensor cimport TensorBase

cdef int RECENT
cdef object MISSING

cdef class Plan

cdef class Entry:
    cdef public object kernel
    cdef public object origin
    cdef public list by_dtype
    cdef public dict plans
    cdef public list recent
    cdef public int turn
    cpdef native(self, DType dtype)

cdef class Plan:
    cdef public object kernel
    cdef public DType kind
    cdef public tuple given
    cdef public tuple asked
    cdef public tuple outs
    cdef public tuple values
    cdef public tuple shape
    cdef public DType dtype
    cdef public int inputs
    cdef public tuple shape_1
    cdef public tuple shape_2
    cdef public DType dtype_1
    cdef public DType dtype_2
    cdef public bint floating
    cdef public bint single
    cdef public bint large

@cython.locals(found=list, count=int)
cpdef tuple asked_for(OpFacts op, dict params)
@cython.locals(i=Py_ssize_t)
cpdef bint same(tuple one, tuple other)
@cython.locals(plan=Plan, given=tuple, count=Py_ssize_t, i=Py_ssize_t, fits=bint)
cpdef Plan recall(Entry found, tuple inputs, tuple asked)
@cython.locals(plan=Plan)
cpdef Plan recall_one(Entry found, TensorBase x, tuple asked)
@cython.locals(plan=Plan)
cpdef Plan recall_two(Entry found, TensorBase x, TensorBase y)
@cython.locals(shape=tuple)
cdef bint _like(TensorBase one, tuple pair)
@cython.locals(plan=Plan)
cpdef Plan look_up(Entry found, tuple given, tuple asked)
cpdef Plan remember(Entry found, tuple asked, Plan plan)
cdef _note(Entry found, Plan plan)
cpdef Entry entry(OpFacts op, Device device)
