# Matrix products. None means "not here": the backend then takes its other way.

cdef bint inner_unit(cnp.ndarray a) noexcept:
    """Whether one of the last two axes is contiguous and the other does not overlap it."""
    cdef int n = cnp.PyArray_NDIM(a)
    cdef i64 item = cnp.PyArray_ITEMSIZE(a)
    cdef i64 r = cnp.PyArray_STRIDE(a, n - 2), c = cnp.PyArray_STRIDE(a, n - 1)
    cdef i64 rows = cnp.PyArray_DIM(a, n - 2), cols = cnp.PyArray_DIM(a, n - 1)
    if rows == 0 or cols == 0:
        return True
    if (c == item or cols == 1) and (r >= cols * item or rows == 1) and r % item == 0:
        return True
    return (r == item or rows == 1) and (c >= rows * item or cols == 1) and c % item == 0


def matmul(x1, x2, bias=None):
    """x1 @ x2 [+ bias] for float32 and bfloat16; None where oneDNN cannot."""
    cdef cnp.ndarray a = array_of(x1), b = array_of(x2), c = None
    cdef int code = code_of(a), na = cnp.PyArray_NDIM(a), nb = cnp.PyArray_NDIM(b), n, d
    cdef const char* bias_data = NULL
    if not use_dnn or (code != F32 and code != BF16) or code_of(b) != code:
        return None
    if na < 2 or nb < 2 or cnp.PyArray_DIM(a, na - 1) != cnp.PyArray_DIM(b, nb - 2):
        refuse(f"matmul: {x1.shape} @ {x2.shape}")
    expect("linear", "bias", bias, (cnp.PyArray_DIM(b, nb - 1),))
    if not inner_unit(a):
        a = dense_copy(a, code, code)
    if not inner_unit(b):
        b = dense_copy(b, code, code)
    if bias is not None:
        c = contiguous(bias, code)
        bias_data = <const char*>cnp.PyArray_DATA(c)
    n = max(na, nb)
    cdef cnp.npy_intp shape[MAX_NDIM]
    cdef cnp.npy_intp x, y
    for d in range(n - 2):
        x = cnp.PyArray_DIM(a, d - (n - na)) if d >= n - na else 1
        y = cnp.PyArray_DIM(b, d - (n - nb)) if d >= n - nb else 1
        if x != y and x != 1 and y != 1:
            refuse(f"matmul: {x1.shape} @ {x2.shape}")
        shape[d] = y if x == 1 else x
    shape[n - 2] = cnp.PyArray_DIM(a, na - 2)
    shape[n - 1] = cnp.PyArray_DIM(b, nb - 1)
    cdef cnp.ndarray out = new_array(code, n, shape, NULL)
    cdef i64 k = cnp.PyArray_DIM(a, na - 1)
    if cnp.PyArray_SIZE(out) == 0:
        return out
    if k == 0:
        out[...] = 0 if bias is None else c
        return out
    cdef View av, bv, ov
    cdef Status status
    batch_view(a, code, n, shape, &av)
    batch_view(b, code, n, shape, &bv)
    view_of(out, code, &ov)
    with nogil:
        status = dnn_matmul(av, bv, bias_data, ov)
    if status == UNSUPPORTED:
        return None
    check(status, out)
    return out


cdef void batch_view(cnp.ndarray a, int code, int n, const cnp.npy_intp* shape, View* v) noexcept:
    """`a` with its batch axes broadcast to `shape`, its last two as they are."""
    cdef int na = cnp.PyArray_NDIM(a), d
    broadcast_view(a, code, n, shape, v)
    for d in range(2):
        v.shape[n - 2 + d] = cnp.PyArray_DIM(a, na - 2 + d)
        v.strides[n - 2 + d] = cnp.PyArray_STRIDE(a, na - 2 + d)
