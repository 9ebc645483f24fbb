cimport cython
from mlcore.backends.device cimport Device
from mlcore.dtype cimport DType

cdef bint COMPILED

@cython.freelist(256)
cdef class Node:
    cdef public object op
    cdef public Device device
    cdef public tuple edges
    cdef public tuple saved
    cdef public tuple params
    cdef public tuple shapes
    cdef public object out
    cdef public tuple extra
    cdef public object where
    cdef public dict hooks
    cdef public object retains
    cdef public object checkpoint
    cdef public bint freed
    cdef public long long serial
    cdef object __weakref__

cdef class TensorBase:
    cdef public object array
    cdef public Device device
    cdef public DType dtype
    cdef public tuple shape
    cdef public Node node
    cdef public bint requires_grad
    cdef public object _grad
    cdef public object _hooks

cdef extern from *:
    """
    static PyObject *mlcore_no_arguments = NULL;
    static PyObject *mlcore_new_instance(PyObject *type) {
        if (!mlcore_no_arguments && !(mlcore_no_arguments = PyTuple_New(0))) return NULL;
        return ((PyTypeObject *)type)->tp_new((PyTypeObject *)type, mlcore_no_arguments, NULL);
    }
    """
    TensorBase new_instance "mlcore_new_instance" (object type)

@cython.locals(node=Node)
cpdef Node new_node(object op, Device device, tuple edges, tuple saved, tuple params)
cpdef assign(TensorBase tensor, object array, Device device, DType dtype, tuple shape, Node node, bint requires_grad)
@cython.locals(tensor=TensorBase)
cpdef TensorBase wrap(object array, Device device, DType dtype, tuple shape)
@cython.locals(tensor=TensorBase)
cpdef TensorBase wrap_recorded(object array, Device device, DType dtype, tuple shape, Node node)
