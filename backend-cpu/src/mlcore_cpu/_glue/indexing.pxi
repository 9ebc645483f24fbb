# Reading and writing by index.

cdef void around(object shape, int axis, i64* outer, i64* inner) except *:
    """How many elements lie before and behind an axis."""
    outer[0] = prod(shape[:axis])
    inner[0] = prod(shape[axis + 1:])


def gather(x, indices, int axis):
    """Slices of x along axis at indices of any shape."""
    cdef cnp.ndarray a = array_of(x), i = contiguous(indices, I64)
    cdef int code = code_of(a)
    a = contiguous(a, code)
    shape = (<object>a).shape
    check_indices("take", i, shape[axis])
    cdef cnp.ndarray out = new_shaped(code, (*shape[:axis], *(<object>i).shape, *shape[axis + 1:]))
    cdef i64 outer, inner, size = shape[axis], count = cnp.PyArray_SIZE(i)
    around(shape, axis, &outer, &inner)
    inner *= ITEMSIZE[code]
    cdef const char* xd = <const char*>cnp.PyArray_DATA(a)
    cdef const i64* idx = <const i64*>cnp.PyArray_DATA(i)
    cdef char* od = <char*>cnp.PyArray_DATA(out)
    cdef Status status
    with nogil:
        status = run_gather(xd, idx, od, outer, size, count, inner)
    check(status, out)
    return out


cdef object sum_at(str name, object x, object indices, object values, int axis, object shape):
    """x (None: zeros) of `shape` with values added at indices along axis, in the order of the indices."""
    cdef int code = code_of(array_of(values)), work = order_code(code)
    cdef cnp.ndarray i = contiguous(indices, I64), v = contiguous(values, work)
    a = None if x is None else contiguous(x, work)
    expect(name, "indices", i, (cnp.PyArray_SIZE(i),))
    expect(name, "values", v, (*shape[:axis], cnp.PyArray_SIZE(i), *shape[axis + 1:]))
    check_indices(name, i, shape[axis])
    cdef cnp.ndarray out = new_shaped(work, shape)
    cdef i64 outer, inner, size = shape[axis], count = cnp.PyArray_SIZE(i)
    around(shape, axis, &outer, &inner)
    cdef const void* xd = pointer(a)
    cdef const void* vd = cnp.PyArray_DATA(v)
    cdef const i64* idx = <const i64*>cnp.PyArray_DATA(i)
    cdef void* od = cnp.PyArray_DATA(out)
    cdef Status status
    with nogil:
        status = run_index_add(work, xd, od, idx, vd, outer, size, count, inner)
    check(status, out)
    return narrowed(out, code)


def index_add(x, indices, values, int axis):
    """A copy of x with values added at indices along axis, in the order of the indices."""
    return sum_at("index_add", x, indices, values, axis, x.shape)


def index_sum(values, indices, int axis, size):
    """Zeros with values added at indices along axis, in the order of the indices."""
    return sum_at("index_sum", None, indices, values, axis, (*values.shape[:axis], size, *values.shape[axis + 1:]))


def scatter(x, indices, values, int axis):
    """A copy of x with values put at indices along axis; of repeated indices the last wins."""
    cdef int code = code_of(array_of(x))
    cdef cnp.ndarray a = contiguous(x, code), i = contiguous(indices, I64), v = contiguous(values, code)
    shape = (<object>a).shape
    expect("scatter", "indices", i, (cnp.PyArray_SIZE(i),))
    expect("scatter", "values", v, (*shape[:axis], cnp.PyArray_SIZE(i), *shape[axis + 1:]))
    check_indices("scatter", i, shape[axis])
    cdef cnp.ndarray out = new_shaped(code, shape)
    cdef i64 outer, inner, size = shape[axis], count = cnp.PyArray_SIZE(i)
    around(shape, axis, &outer, &inner)
    inner *= ITEMSIZE[code]
    cdef const char* xd = <const char*>cnp.PyArray_DATA(a)
    cdef const char* vd = <const char*>cnp.PyArray_DATA(v)
    cdef const i64* idx = <const i64*>cnp.PyArray_DATA(i)
    cdef char* od = <char*>cnp.PyArray_DATA(out)
    cdef Status status
    with nogil:
        status = run_scatter(xd, od, idx, vd, outer, size, count, inner)
    check(status, out)
    return out


cdef int check_along(Status status, cnp.ndarray out, cnp.ndarray indices, i64 size, int axis) except -1:
    """Like check, where the kernel has looked at the indices."""
    if status != OUT_OF_RANGE:
        return check(status, out)
    from mlcore.ops.index import out_of_range
    raise out_of_range("take_along_axis", int(indices.min()), int(indices.max()), size, axis)


def take_along(x, indices, int axis):
    """One element of x for each of indices, which name places along axis and may count from the end."""
    cdef cnp.ndarray a = array_of(x), i = contiguous(indices, I64)
    cdef int code = code_of(a), item = ITEMSIZE[code]
    a = contiguous(a, code)
    shape = (<object>i).shape
    expect("take_along_axis", "the tensor", a, (*shape[:axis], a.shape[axis], *shape[axis + 1:]))
    cdef cnp.ndarray out = new_array(code, cnp.PyArray_NDIM(i), cnp.PyArray_DIMS(i), NULL)
    cdef i64 outer, inner, size = a.shape[axis], count = shape[axis]
    around(shape, axis, &outer, &inner)
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef const i64* idx = <const i64*>cnp.PyArray_DATA(i)
    cdef void* od = cnp.PyArray_DATA(out)
    cdef Status status
    with nogil:
        status = run_take_along(item, xd, idx, od, outer, size, count, inner)
    check_along(status, out, i, size, axis)
    return out


def sum_along(values, indices, int axis, i64 size):
    """Zeros with each of values added where its index says: take_along's gradient."""
    cdef int code = code_of(array_of(values)), work = order_code(code)
    cdef cnp.ndarray v = contiguous(values, work), i = contiguous(indices, I64)
    shape = (<object>i).shape
    expect("take_along_axis", "the gradient", v, shape)
    cdef cnp.ndarray out = new_shaped(work, (*shape[:axis], size, *shape[axis + 1:]))
    cdef i64 outer, inner, count = shape[axis]
    around(shape, axis, &outer, &inner)
    cdef const void* vd = cnp.PyArray_DATA(v)
    cdef const i64* idx = <const i64*>cnp.PyArray_DATA(i)
    cdef void* od = cnp.PyArray_DATA(out)
    cdef Status status
    with nogil:
        status = run_sum_along(work, vd, idx, od, outer, size, count, inner)
    check_along(status, out, i, size, axis)
    return narrowed(out, code)


def where_true(x):
    """The coordinates of the elements that are not 0, as one int64 array per axis."""
    cdef cnp.ndarray a = contiguous(x, BOOL), counts, one
    cdef i64 n = cnp.PyArray_SIZE(a), total = 0, here, k
    cdef int ndim = cnp.PyArray_NDIM(a), d
    counts = new_shaped(I64, ((n + TRUE_STRETCH - 1) // TRUE_STRETCH,))
    cdef i64* before = <i64*>cnp.PyArray_DATA(counts)
    cdef i64 shape[MAX_NDIM]
    cdef i64* outs[MAX_NDIM]
    cdef const unsigned char* xd = <const unsigned char*>cnp.PyArray_DATA(a)
    cdef Status status
    with nogil:
        status = run_count_true(xd, n, before)
    check(status, counts)
    for k in range(cnp.PyArray_SIZE(counts)):
        here = before[k]
        before[k] = total
        total += here
    found = tuple([new_shaped(I64, (total,)) for d in range(ndim)])
    for d in range(ndim):
        one = found[d]
        shape[d] = cnp.PyArray_DIM(a, d)
        outs[d] = <i64*>cnp.PyArray_DATA(one)
    with nogil:
        status = run_where_true(xd, n, ndim, shape, before, outs)
    check(status, counts)
    return found


def searchsorted(x, wanted, side):
    """Where each of `wanted` would go in x, which is in order."""
    cdef int code = order_code(code_of(array_of(x)))
    cdef cnp.ndarray a = contiguous(x, code), w = contiguous(wanted, code)
    cdef cnp.ndarray out = new_array(I64, cnp.PyArray_NDIM(w), cnp.PyArray_DIMS(w), NULL)
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef const void* wd = cnp.PyArray_DATA(w)
    cdef i64* od = <i64*>cnp.PyArray_DATA(out)
    cdef i64 n = cnp.PyArray_SIZE(a), count = cnp.PyArray_SIZE(w)
    cdef bint right = side == "right"
    cdef Status status
    with nogil:
        status = run_search(code, xd, n, wd, count, right, od)
    check(status, out)
    return out
