# Views: results that share their input's memory, since tensors are values. Any dtype.

cdef extern from *:
    """
    static inline PyObject* mlcore_new_view(PyArrayObject* of, int n, const npy_intp* shape, const npy_intp* strides,
                                            char* data) {
        PyArray_Descr* descr = PyArray_DESCR(of);
        Py_INCREF(descr);  // NewFromDescr takes it over
        PyObject* made = PyArray_NewFromDescr(&PyArray_Type, descr, n, shape, strides, data, 0, NULL);
        if (!made) return NULL;
        Py_INCREF(of);
        if (PyArray_SetBaseObject((PyArrayObject*)made, (PyObject*)of) < 0) {
            Py_DECREF(made);
            return NULL;
        }
        return made;
    }
    """
    cnp.ndarray mlcore_new_view(cnp.ndarray, int, const cnp.npy_intp*, const cnp.npy_intp*, char*)


def reshape(x, tuple shape):
    """`x` with another shape; a copy only where its memory order asks for one."""
    cdef cnp.ndarray a = array_of(x)
    cdef cnp.npy_intp dims[MAX_NDIM]
    cdef int n = 0, code
    for size in shape:
        dims[n] = size
        n += 1
    if not cnp.PyArray_IS_C_CONTIGUOUS(a):
        code = code_of(a)
        if code < 0:
            return x.reshape(shape)
        try:
            return np.reshape(a, shape, copy=False)
        except ValueError:
            a = dense_copy(a, code, code)
    return mlcore_new_view(a, n, dims, NULL, <char*>cnp.PyArray_DATA(a))


def permute_dims(x, tuple axes):
    """`x` with its axes in another order."""
    cdef cnp.ndarray a = array_of(x)
    cdef cnp.npy_intp dims[MAX_NDIM]
    cdef cnp.npy_intp strides[MAX_NDIM]
    cdef int n = 0, d
    for axis in axes:
        d = axis
        dims[n] = cnp.PyArray_DIM(a, d)
        strides[n] = cnp.PyArray_STRIDE(a, d)
        n += 1
    return mlcore_new_view(a, n, dims, strides, <char*>cnp.PyArray_DATA(a))


def broadcast_to(x, tuple shape):
    """`x` repeated, with stride 0 where it is."""
    cdef cnp.ndarray a = array_of(x)
    cdef cnp.npy_intp dims[MAX_NDIM]
    cdef cnp.npy_intp strides[MAX_NDIM]
    cdef int n = 0, lead = len(shape) - cnp.PyArray_NDIM(a)
    for size in shape:
        dims[n] = size
        strides[n] = 0 if n < lead or cnp.PyArray_DIM(a, n - lead) == 1 else cnp.PyArray_STRIDE(a, n - lead)
        n += 1
    return mlcore_new_view(a, n, dims, strides, <char*>cnp.PyArray_DATA(a))


def narrow(x, int axis, cnp.npy_intp start, cnp.npy_intp stop):
    """The elements from `start` to before `stop` along an axis."""
    cdef cnp.ndarray a = array_of(x)
    cdef cnp.npy_intp dims[MAX_NDIM]
    cdef int d
    for d in range(cnp.PyArray_NDIM(a)):
        dims[d] = cnp.PyArray_DIM(a, d)
    dims[axis] = stop - start
    cdef char* data = <char*>cnp.PyArray_DATA(a) + start * cnp.PyArray_STRIDE(a, axis)
    return mlcore_new_view(a, cnp.PyArray_NDIM(a), dims, cnp.PyArray_STRIDES(a), data)


def select(x, int axis, cnp.npy_intp index):
    """The elements at `index` along an axis, which goes."""
    cdef cnp.ndarray a = array_of(x)
    cdef cnp.npy_intp dims[MAX_NDIM]
    cdef cnp.npy_intp strides[MAX_NDIM]
    cdef int n = 0, d
    for d in range(cnp.PyArray_NDIM(a)):
        if d != axis:
            dims[n] = cnp.PyArray_DIM(a, d)
            strides[n] = cnp.PyArray_STRIDE(a, d)
            n += 1
    cdef char* data = <char*>cnp.PyArray_DATA(a) + index * cnp.PyArray_STRIDE(a, axis)
    return mlcore_new_view(a, n, dims, strides, data)
