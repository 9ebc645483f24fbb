# Fused kernels. Arrays become dense float32 or float64 first (16-bit floats through float32), results are
# converted back to the input's dtype.

from libc.stdlib cimport free, malloc


cdef inline int work_code(int code) noexcept:
    return F64 if code == F64 else F32


cdef inline cnp.ndarray narrowed(cnp.ndarray a, int code):
    """`a` (of the work dtype) as dtype `code`."""
    cdef int own = code_of(a)
    if own == code:
        return a
    cdef cnp.ndarray out = new_like_order(code, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), a)
    copy_into(a, own, out, code)
    return out


cdef inline cnp.ndarray new_shaped(int code, object shape):
    cdef cnp.npy_intp dims[MAX_NDIM]
    cdef int n = 0
    for d in shape:
        dims[n] = d
        n += 1
    return new_array(code, n, dims, NULL)


cdef inline void* pointer(object a) noexcept:
    return NULL if a is None else cnp.PyArray_DATA(<cnp.ndarray>a)


cdef inline object optional(object a, int code):
    return None if a is None else contiguous(a, code)


cdef object rows_last(object x, int axis):
    """x with `axis` moved to the end (a view), for kernels that work on rows."""
    return x if axis == x.ndim - 1 else np.moveaxis(x, axis, -1)


cdef object rows_back(object y, int axis):
    return y if axis == y.ndim - 1 else np.moveaxis(y, -1, axis)


cdef i64 prod(object shape) except -1:
    cdef i64 n = 1
    for d in shape:
        n *= <i64>d
    return n


cdef object along(RowOp op, object x, int axis):
    cdef int code = code_of(x), work = work_code(code)
    cdef cnp.ndarray a = contiguous(rows_last(x, axis), work)
    cdef cnp.ndarray out = new_array(work, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), NULL)
    cdef i64 n = cnp.PyArray_DIM(a, cnp.PyArray_NDIM(a) - 1), rows = cnp.PyArray_SIZE(a) // max(n, 1)
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef void* od = cnp.PyArray_DATA(out)
    cdef Status status
    with nogil:
        status = run_rows(op, work, xd, od, rows, n)
    check(status, out)
    return rows_back(narrowed(out, code), axis)


def softmax(x, axis):
    """exp(x) / sum(exp(x)) along axis; a row of -inf gives zeros."""
    return along(ROW_SOFTMAX, array_of(x), axis)


def log_softmax(x, axis):
    """x - logsumexp(x) along axis."""
    return along(ROW_LOG_SOFTMAX, array_of(x), axis)


cdef object along_grad(RowOp op, object g, object y, int axis):
    expect("softmax_grad", "the gradient", g, y.shape)
    cdef int code = code_of(y), work = work_code(code)
    cdef cnp.ndarray a = contiguous(rows_last(g, axis), work), b = contiguous(rows_last(y, axis), work)
    cdef cnp.ndarray out = new_array(work, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), NULL)
    cdef i64 n = cnp.PyArray_DIM(a, cnp.PyArray_NDIM(a) - 1), rows = cnp.PyArray_SIZE(a) // max(n, 1)
    cdef const void* gd = cnp.PyArray_DATA(a)
    cdef const void* yd = cnp.PyArray_DATA(b)
    cdef void* od = cnp.PyArray_DATA(out)
    cdef Status status
    with nogil:
        status = run_rows_grad(op, work, gd, yd, od, rows, n)
    check(status, out)
    return rows_back(narrowed(out, code), axis)


def softmax_grad(g, y, axis):
    """Gradient of softmax from its output."""
    return along_grad(ROW_SOFTMAX, array_of(g), array_of(y), axis)


def log_softmax_grad(g, y, axis):
    """Gradient of log_softmax from its output."""
    return along_grad(ROW_LOG_SOFTMAX, array_of(g), array_of(y), axis)


def logsumexp(x, axes, keepdims):
    """log(sum(exp(x))) over axes; -inf of nothing."""
    cdef cnp.ndarray a = array_of(x)
    cdef int code = code_of(a), work = work_code(code), d
    kept = [d for d in range(a.ndim) if d not in axes]
    shape = [(<object>a).shape[d] if d in kept else 1 for d in range(a.ndim) if keepdims or d in kept]
    cdef cnp.ndarray rows = contiguous((<object>a).transpose([*kept, *axes]), work)
    cdef i64 count = prod([(<object>a).shape[d] for d in kept]), n = prod([(<object>a).shape[d] for d in axes])
    cdef cnp.ndarray out = new_shaped(work, shape)
    cdef const void* xd = cnp.PyArray_DATA(rows)
    cdef void* od = cnp.PyArray_DATA(out)
    cdef Status status
    with nogil:
        status = run_rows(ROW_LOGSUMEXP, work, xd, od, count, n)
    check(status, out)
    return narrowed(out, code)


def softmax_cross_entropy(logits, target):
    """(loss, logsumexp) of rows (N, C) with int64 targets (N,)."""
    cdef int code = code_of(array_of(logits)), work = work_code(code)
    cdef cnp.ndarray x = contiguous(logits, work), t = contiguous(target, I64)
    if cnp.PyArray_NDIM(x) != 2:
        refuse(f"softmax_cross_entropy: logits have shape {logits.shape}")
    cdef i64 rows = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    expect("softmax_cross_entropy", "target", t, (rows,))
    check_indices("softmax_cross_entropy", t, n)
    cdef cnp.ndarray loss = new_array(work, 1, cnp.PyArray_DIMS(x), NULL), lse = new_array(work, 1, cnp.PyArray_DIMS(x), NULL)
    cdef const void* xd = cnp.PyArray_DATA(x)
    cdef const i64* td = <const i64*>cnp.PyArray_DATA(t)
    cdef void* ld = cnp.PyArray_DATA(loss)
    cdef void* sd = cnp.PyArray_DATA(lse)
    cdef Status status
    with nogil:
        status = run_cross_entropy(work, xd, td, ld, sd, rows, n)
    check(status, loss)
    return narrowed(loss, code), narrowed(lse, code)


def softmax_cross_entropy_grad(g, logits, target, lse):
    """g * (softmax(logits) - one_hot(target))."""
    cdef int code = code_of(array_of(logits)), work = work_code(code)
    cdef cnp.ndarray x = contiguous(logits, work), t = contiguous(target, I64), w = contiguous(g, work), s = contiguous(lse, work)
    if cnp.PyArray_NDIM(x) != 2:
        refuse(f"softmax_cross_entropy_grad: logits have shape {logits.shape}")
    cdef i64 rows = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    for which, one in (("target", t), ("the gradient", w), ("lse", s)):
        expect("softmax_cross_entropy_grad", which, one, (rows,))
    check_indices("softmax_cross_entropy_grad", t, n)
    cdef cnp.ndarray out = new_array(work, 2, cnp.PyArray_DIMS(x), NULL)
    cdef const void* xd = cnp.PyArray_DATA(x)
    cdef const void* gd = cnp.PyArray_DATA(w)
    cdef const void* sd = cnp.PyArray_DATA(s)
    cdef const i64* td = <const i64*>cnp.PyArray_DATA(t)
    cdef void* od = cnp.PyArray_DATA(out)
    cdef Status status
    with nogil:
        status = run_cross_entropy_grad(work, gd, xd, td, sd, od, rows, n)
    check(status, out)
    return narrowed(out, code)


def squared_error(x, target, double scale):
    """scale * sum((x - target) ** 2), 0-d."""
    cdef int code = code_of(array_of(x)), work = work_code(code)
    cdef cnp.ndarray a = contiguous(x, work), b = contiguous(target, work), out = new_array(work, 0, NULL, NULL)
    expect("squared_error", "the target", b, (<object>a).shape)
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef const void* td = cnp.PyArray_DATA(b)
    cdef void* od = cnp.PyArray_DATA(out)
    cdef i64 n = cnp.PyArray_SIZE(a)
    cdef Status status
    with nogil:
        status = run_squared_error(work, xd, td, od, n, scale)
    check(status, out)
    return narrowed(out, code)


def squared_error_grad(g, x, target, double scale):
    """g * 2 * scale * (x - target)."""
    cdef int code = code_of(array_of(x)), work = work_code(code)
    cdef cnp.ndarray a = contiguous(x, work), b = contiguous(target, work), w = contiguous(g, work)
    expect("squared_error_grad", "the target", b, (<object>a).shape)
    expect("squared_error_grad", "the gradient", w, ())
    cdef cnp.ndarray out = new_array(work, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), NULL)
    cdef const void* gd = cnp.PyArray_DATA(w)
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef const void* td = cnp.PyArray_DATA(b)
    cdef void* od = cnp.PyArray_DATA(out)
    cdef i64 n = cnp.PyArray_SIZE(a)
    cdef Status status
    with nogil:
        status = run_squared_error_grad(work, gd, xd, td, od, n, scale)
    check(status, out)
    return narrowed(out, code)


def layer_norm(x, weight, bias, n_axes, eps):
    """(y, mean, rstd) over the last n_axes dimensions."""
    cdef int code = code_of(array_of(x)), work = work_code(code)
    cdef cnp.ndarray a = contiguous(x, work)
    w, b = optional(weight, work), optional(bias, work)
    shape = (<object>a).shape
    stats = (*shape[:len(shape) - n_axes], *(1,) * n_axes)
    expect("layer_norm", "weight", w, shape[len(shape) - n_axes:])
    expect("layer_norm", "bias", b, shape[len(shape) - n_axes:])
    cdef i64 n = prod(shape[len(shape) - n_axes:]), rows = prod(shape[:len(shape) - n_axes])
    cdef cnp.ndarray y = new_array(work, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), NULL)
    cdef cnp.ndarray mean = new_shaped(work, stats), rstd = new_shaped(work, stats)
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef const void* wd = pointer(w)
    cdef const void* bd = pointer(b)
    cdef void* yd = cnp.PyArray_DATA(y)
    cdef void* md = cnp.PyArray_DATA(mean)
    cdef void* rd = cnp.PyArray_DATA(rstd)
    cdef double epsilon = eps
    cdef Status status
    with nogil:
        status = run_layer_norm(work, xd, wd, bd, yd, md, rd, rows, n, epsilon)
    check(status, y)
    return narrowed(y, code), narrowed(mean, code), narrowed(rstd, code)


def layer_norm_grad(g, x, weight, mean, rstd, n_axes):
    """(gx, gw, gb) of layer_norm."""
    cdef int code = code_of(array_of(x)), work = work_code(code)
    cdef cnp.ndarray d = contiguous(g, work), a = contiguous(x, work), m = contiguous(mean, work), s = contiguous(rstd, work)
    w = optional(weight, work)
    shape = (<object>a).shape
    stats = (*shape[:len(shape) - n_axes], *(1,) * n_axes)
    for which, one, wanted in (("the gradient", d, shape), ("weight", w, shape[len(shape) - n_axes:]), ("mean", m, stats), ("rstd", s, stats)):
        expect("layer_norm_grad", which, one, wanted)
    cdef i64 n = prod(shape[len(shape) - n_axes:]), rows = prod(shape[:len(shape) - n_axes])
    cdef cnp.ndarray gx = new_array(work, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), NULL)
    cdef cnp.ndarray gw = new_shaped(work, shape[len(shape) - n_axes:]), gb = new_shaped(work, shape[len(shape) - n_axes:])
    cdef const void* gd = cnp.PyArray_DATA(d)
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef const void* wd = pointer(w)
    cdef const void* md = cnp.PyArray_DATA(m)
    cdef const void* sd = cnp.PyArray_DATA(s)
    cdef void* gxd = cnp.PyArray_DATA(gx)
    cdef void* gwd = cnp.PyArray_DATA(gw)
    cdef void* gbd = cnp.PyArray_DATA(gb)
    cdef Status status
    with nogil:
        status = run_layer_norm_grad(work, gd, xd, wd, md, sd, gxd, gwd, gbd, rows, n)
    check(status, gx)
    return narrowed(gx, code), narrowed(gw, code), narrowed(gb, code)


def random_bits(key, offset, shape):
    """uint32 Threefry bits, element i from the counter offset + i."""
    cdef cnp.ndarray out = new_shaped(U32, shape)
    cdef unsigned int k0 = key[0], k1 = key[1]
    cdef unsigned long long counter = offset & 0xFFFFFFFFFFFFFFFF
    cdef unsigned int* od = <unsigned int*>cnp.PyArray_DATA(out)
    cdef i64 n = cnp.PyArray_SIZE(out)
    cdef Status status
    with nogil:
        status = run_threefry(k0, k1, counter, od, n)
    check(status, out)
    return out


def dropout(x, p, key, offset):
    """x / (1 - p) where the stream's uniform number is at least p, else 0."""
    cdef int code = code_of(array_of(x)), work = work_code(code)
    cdef cnp.ndarray a = contiguous(x, work)
    cdef cnp.ndarray out = new_array(work, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), NULL)
    cdef unsigned int k0 = key[0], k1 = key[1]
    cdef unsigned long long counter = offset & 0xFFFFFFFFFFFFFFFF
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef void* od = cnp.PyArray_DATA(out)
    cdef i64 n = cnp.PyArray_SIZE(a)
    cdef double probability = p
    cdef Status status
    with nogil:
        status = run_dropout(work, xd, od, n, k0, k1, counter, probability)
    check(status, out)
    return narrowed(out, code)


def full(shape, value):
    """An array of `shape` filled with the 0-d array `value`."""
    cdef cnp.ndarray v = array_of(value)
    cdef int code = code_of(v)
    cdef cnp.ndarray out = new_shaped(code, shape)
    cdef View x, y
    cdef Status status
    broadcast_view(v, code, cnp.PyArray_NDIM(out), cnp.PyArray_DIMS(out), &x)
    view_of(out, code, &y)
    with nogil:
        status = run_copy(x, y)
    check(status, out)
    return out


def concat(arrays, axis):
    """The arrays one after the other along axis."""
    cdef cnp.ndarray first = array_of(arrays[0])
    cdef int code = code_of(first)
    shape = list((<object>first).shape)
    shape[axis] = sum([one.shape[axis] for one in arrays])
    cdef cnp.ndarray out = new_shaped(code, shape)
    at = 0
    lead = (slice(None),) * axis
    for one in arrays:
        if code_of(array_of(one)) != code or one.ndim != len(shape):
            refuse(f"concat: {one.dtype} {one.shape} beside {first.dtype} {tuple(shape)}")
        copy_into(array_of(one), code, out[(*lead, slice(at, at + one.shape[axis]))], code)
        at += one.shape[axis]
    return out


def slice_update(x, v, key):
    """A copy of x with x[key] = v; key is a tuple of slices."""
    cdef cnp.ndarray a = array_of(x)
    cdef int code = code_of(a)
    cdef cnp.ndarray out = new_like_order(code, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), a)
    copy_into(a, code, out, code)
    copy_into(array_of(v), code, out[(*key, ...)], code)  # the ellipsis makes a view of 0-d arrays too
    return out


def slice_write(list arrays, key):
    """x[key] = v for arrays [x, v], in the memory of x if only one tensor holds it: 0, else -1 and nothing is done."""
    if type(arrays[0]) is not cnp.ndarray or not mlcore_writable(PyList_GET_ITEM(arrays, 0)):
        return -1
    cdef cnp.ndarray a = arrays[0]
    cdef int code = code_of(a)
    if code < 0:
        return -1
    copy_into(array_of(arrays[1]), code, a[(*key, ...)], code)
    return 0
