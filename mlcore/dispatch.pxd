cimport cython

from mlcore.backends.device cimport Device
from mlcore.dtype cimport DType
from mlcore.modes cimport Modes
from mlcore.op cimport OpFacts
from mlcore.table cimport Entry, entry
from mlcore.tensor cimport Node, TensorBase, new_node, wrap, wrap_recorded

cdef Modes MODES
cdef long long _serial
cdef dict _internal

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

cdef extern from *:
    """
    static PyObject *mlcore_near_line(PyObject *known) {
        PyFrameObject *frame = PyEval_GetFrame();
        if (!frame) Py_RETURN_NONE;
        PyCodeObject *code = PyFrame_GetCode(frame);
        PyObject *found = NULL, *inside = PyDict_GetItem(known, code->co_filename);
        if (inside == Py_False) {
            PyObject *offset = PyLong_FromLong(PyFrame_GetLasti(frame));
            found = offset ? PyTuple_Pack(2, (PyObject *)code, offset) : NULL;
            Py_XDECREF(offset);
            Py_DECREF(code);
            return found;
        }
        Py_DECREF(code);
        Py_RETURN_NONE;
    }
    """
    object near_line "mlcore_near_line" (dict known)

@cython.locals(frame=object, inside=object)
cpdef user_line()
