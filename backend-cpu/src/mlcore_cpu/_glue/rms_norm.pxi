# Root-mean-square normalisation of rows.

def rms_norm(x, weight, int n_axes, double eps):
    """(y, rstd) over the last n_axes dimensions."""
    cdef int code = code_of(array_of(x)), work = work_code(code)
    cdef cnp.ndarray a = contiguous(x, work)
    w = optional(weight, work)
    shape = (<object>a).shape
    tail = shape[len(shape) - n_axes:]
    expect("rms_norm", "weight", w, tail)
    cdef i64 n = prod(tail), rows = prod(shape[:len(shape) - n_axes])
    cdef cnp.ndarray y = new_array(work, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), NULL)
    cdef cnp.ndarray rstd = new_shaped(work, (*shape[:len(shape) - n_axes], *(1,) * n_axes))
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef const void* wd = pointer(w)
    cdef void* yd = cnp.PyArray_DATA(y)
    cdef void* rd = cnp.PyArray_DATA(rstd)
    cdef Status status
    with nogil:
        status = run_rms_norm(work, xd, wd, yd, rd, rows, n, eps)
    check(status, y)
    return narrowed(y, code), narrowed(rstd, code)


def rms_norm_grad(g, x, weight, rstd, int n_axes):
    """(gx, gw) of rms_norm."""
    cdef int code = code_of(array_of(x)), work = work_code(code)
    cdef cnp.ndarray d = contiguous(g, work), a = contiguous(x, work), s = contiguous(rstd, work)
    w = optional(weight, work)
    shape = (<object>a).shape
    tail = shape[len(shape) - n_axes:]
    stats = (*shape[:len(shape) - n_axes], *(1,) * n_axes)
    for which, one, wanted in (("the gradient", d, shape), ("weight", w, tail), ("rstd", s, stats)):
        expect("rms_norm_grad", which, one, wanted)
    cdef i64 n = prod(tail), rows = prod(shape[:len(shape) - n_axes])
    cdef cnp.ndarray gx = new_array(work, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), NULL), gw = new_shaped(work, tail)
    cdef const void* gd = cnp.PyArray_DATA(d)
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef const void* wd = pointer(w)
    cdef const void* sd = cnp.PyArray_DATA(s)
    cdef void* gxd = cnp.PyArray_DATA(gx)
    cdef void* gwd = cnp.PyArray_DATA(gw)
    cdef Status status
    with nogil:
        status = run_rms_norm_grad(work, gd, xd, wd, sd, gxd, gwd, rows, n)
    check(status, gx)
    return narrowed(gx, code), narrowed(gw, code)
