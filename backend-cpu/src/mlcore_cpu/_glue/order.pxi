# Orders along an axis, and running sums.

cdef inline int order_code(int code) noexcept:
    """The dtype in which the elements are compared, or added up: 16-bit floats as float32."""
    return F32 if code == F16 or code == BF16 else code


def sort_indices(x, int axis, bint descending):
    """The stable order of the elements along axis, as int64."""
    return order_along(x, axis, descending, x.shape[axis], False)


def ordered(x, int axis, bint descending, i64 count):
    """(the first `count` elements in order along axis, their indices)."""
    return order_along(x, axis, descending, count, True)


cdef object order_along(object x, int axis, bint descending, i64 count, bint with_values):
    cdef int code = code_of(array_of(x)), work = order_code(code)
    cdef cnp.ndarray a = contiguous(rows_last(x, axis), work)
    cdef int n_axes = cnp.PyArray_NDIM(a), d
    cdef cnp.npy_intp shape[MAX_NDIM]
    for d in range(n_axes):
        shape[d] = cnp.PyArray_DIM(a, d)
    cdef i64 n = shape[n_axes - 1], rows = cnp.PyArray_SIZE(a) // max(n, 1)
    shape[n_axes - 1] = count
    cdef cnp.ndarray indices = new_array(I64, n_axes, shape, NULL), values = None
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef i64* at = <i64*>cnp.PyArray_DATA(indices)
    cdef void* yd = NULL
    cdef Status status = OK
    if with_values:
        values = new_array(work, n_axes, shape, NULL)
        yd = cnp.PyArray_DATA(values)
    if cnp.PyArray_SIZE(indices):
        with nogil:
            status = run_order(work, xd, rows, n, count, descending, at, yd)
        check(status, indices)
    if not with_values:
        return rows_back(indices, axis)
    return rows_back(narrowed(values, code), axis), rows_back(indices, axis)


cdef object scan_along(object x, int axis, bint product):
    cdef int code = code_of(array_of(x)), work = order_code(code)
    cdef cnp.ndarray a = contiguous(x, work)
    cdef cnp.ndarray out = new_array(work, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), NULL)
    shape = (<object>a).shape
    cdef i64 outer = prod(shape[:axis]), n = shape[axis], inner = prod(shape[axis + 1:])
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef void* yd = cnp.PyArray_DATA(out)
    cdef Status status = OK
    if cnp.PyArray_SIZE(out):
        with nogil:
            status = run_scan(work, xd, yd, outer, n, inner, product)
        check(status, out)
    return narrowed(out, code)


def scan_sum(x, int axis):
    """Running sum along axis."""
    return scan_along(x, axis, False)


def scan_prod(x, int axis):
    """Running product along axis."""
    return scan_along(x, axis, True)
