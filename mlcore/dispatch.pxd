cimport cython

from mlcore.backends.device cimport Device
from mlcore.dtype cimport DType
from mlcore.inputs cimport check_memory, constant, prepare
from mlcore.modes cimport Modes
from mlcore.op cimport OpFacts
from mlcore.table cimport Entry, Plan, asked_for, entry, look_up, recall, remember
from mlcore.tape cimport record, record_binary, record_unary
from mlcore.tensor cimport TensorBase, wrap

cdef Modes MODES

cdef extern from *:
    """
    #define MLCORE_MOST 12
    static PyObject *mlcore_call_kernel(PyObject *kernel, PyObject *arrays, PyObject *values) {
        Py_ssize_t n = PyList_GET_SIZE(arrays), m = PyTuple_GET_SIZE(values);
        if (n + m <= MLCORE_MOST) {
            PyObject *all[MLCORE_MOST + 1];
            for (Py_ssize_t i = 0; i < n; ++i) all[1 + i] = PyList_GET_ITEM(arrays, i);
            for (Py_ssize_t i = 0; i < m; ++i) all[1 + n + i] = PyTuple_GET_ITEM(values, i);
            return PyObject_Vectorcall(kernel, all + 1, (size_t)(n + m) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        }
        PyObject *head = PyList_AsTuple(arrays);
        PyObject *whole = head ? PySequence_Concat(head, values) : NULL;
        PyObject *made = whole ? PyObject_Call(kernel, whole, NULL) : NULL;
        Py_XDECREF(head);
        Py_XDECREF(whole);
        return made;
    }
    """
    object call_kernel "mlcore_call_kernel" (object kernel, list arrays, tuple values)

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

@cython.locals(known=Plan)
cpdef apply(Op op, tuple raw, dict params, object device=*)
@cython.locals(table=list, found=Entry)
cdef Plan _known(Op op, tuple raw, dict params, Device device)
cdef Device _device_of(TensorBase tensor)
cdef _start(Op op, tuple inputs, dict params, Device device, DType dtype)
@cython.locals(one=TensorBase, found=Entry, asked=tuple, plan=Plan)
cdef Plan _plan(Op op, tuple inputs, dict params, Device device, DType dtype)
cpdef Plan new_plan(Op op, tuple inputs, dict params, Device device, DType dtype)
cdef _run(Op op, tuple inputs, dict params, Device device, DType dtype)
@cython.locals(one=TensorBase, values=tuple, result=DType, shape=tuple, arrays=list, record_it=bint)
cpdef execute(Op op, Plan plan, tuple inputs, Device device)
@cython.locals(first=TensorBase)
cdef _several(Op op, Plan plan, object made, tuple inputs, bint record_it, Device device)
cpdef go_on(Op op, Plan plan, tuple inputs, Device device, object error)
