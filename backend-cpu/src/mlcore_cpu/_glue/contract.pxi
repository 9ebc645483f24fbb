# Matrix products: callables with the vectorcall protocol, for all real dtypes and any strides.

cdef enum:
    SMALL_PRODUCT = 65536  # multiplications; from there the work runs without the GIL
    TINY_PRODUCT = 8192    # worth asking run_small_matmul


cdef class Contract(Kernel):
    """x1 @ x2 over the last two axes, the others broadcast; complex numbers through the reference."""

    def __init__(self, str name, fallback):
        self.vectorcall = <vectorcallfunc>call_contract
        self.name, self.origin, self.fallback = name, "native", fallback

    def codes(self):
        """The dtype codes that this kernel covers."""
        return list(range(1, N_REAL))


cdef class Linear(Kernel):
    """x @ weight.T [+ bias], x of any rank."""

    def __init__(self, str name):
        self.vectorcall = <vectorcallfunc>call_linear
        self.name, self.origin = name, "native"

    def codes(self):
        """The dtype codes that this kernel covers."""
        return [F16, BF16, F32, F64]


cdef bint whole_strides(cnp.ndarray a) noexcept:
    """Whether the strides are multiples of the item size: kernels count in elements."""
    cdef int d
    cdef i64 part = cnp.PyArray_ITEMSIZE(a) - 1  # a power of two, less one
    for d in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_STRIDE(a, d) & part:
            return False
    return cnp.PyArray_ISALIGNED(a)


cdef inline cnp.ndarray countable(object x, int code):
    """`x`, or a copy of dtype `code` and with whole strides."""
    cdef cnp.ndarray a = array_of(x)
    cdef int own = code_of(a)
    return a if own == code and whole_strides(a) else dense_copy(a, own, code)


cdef int run_product(const View& a, const View& b, const View& to, cnp.ndarray out, const View* bias=NULL) except -1:
    """Run the product into `out`, seen as `to`, with or without the GIL."""
    cdef Status status
    if a.shape[a.ndim - 1] * to.size() + to.size() < SMALL_PRODUCT:
        status = run_matmul(a, b, bias, to)
    else:
        with nogil:
            status = run_matmul(a, b, bias, to)
    return check(status, out)


cdef object call_contract(object callable, PyObject** args, size_t nargsf, PyObject* names):
    cdef Contract kernel = <Contract>callable
    if names != NULL or PyVectorcall_NARGS(nargsf) != 2:
        raise TypeError(f"kernel {kernel.name}: wrong number of arguments")
    cdef cnp.ndarray a = array_of(<object>args[0]), b = array_of(<object>args[1])
    cdef int code = code_of(a)
    if code < 0 or code >= N_REAL or code == BOOL or code_of(b) != code:
        return kernel.fallback(a, b)
    cdef cnp.npy_intp shape[2]
    cdef cnp.ndarray out
    if cnp.PyArray_NDIM(a) == 2 and cnp.PyArray_NDIM(b) == 2 and cnp.PyArray_DIM(a, 1) == cnp.PyArray_DIM(b, 0) and (
            cnp.PyArray_SIZE(a) * cnp.PyArray_DIM(b, 1) <= TINY_PRODUCT and (code == F32 or code == F64)):
        shape[0], shape[1] = cnp.PyArray_DIM(a, 0), cnp.PyArray_DIM(b, 1)
        out = new_array(code, 2, shape, NULL)
        if cnp.PyArray_ISALIGNED(a) and cnp.PyArray_ISALIGNED(b) and run_small_matmul(
                code, shape[0], shape[1], cnp.PyArray_DIM(a, 1),
                <char*>cnp.PyArray_DATA(a), cnp.PyArray_STRIDE(a, 0), cnp.PyArray_STRIDE(a, 1),
                <char*>cnp.PyArray_DATA(b), cnp.PyArray_STRIDE(b, 0), cnp.PyArray_STRIDE(b, 1),
                NULL, <char*>cnp.PyArray_DATA(out)):
            return out
    return matrix_product(a, b, code, code)


def matmul_int8(x1, x2):
    """x1 @ x2 of int8, added up in int32."""
    return matrix_product(array_of(x1), array_of(x2), I8, I32)


def matmul(x1, x2):
    """x1 @ x2 for real dtypes."""
    cdef cnp.ndarray a = array_of(x1), b = array_of(x2)
    return matrix_product(a, b, code_of(a), code_of(a))


cdef cnp.ndarray matrix_product(cnp.ndarray a, cnp.ndarray b, int code, int result):
    """a @ b for dtype `code`, as dtype `result`."""
    cdef int na = cnp.PyArray_NDIM(a), nb = cnp.PyArray_NDIM(b), n = max(na, nb), d
    cdef cnp.npy_intp shape[MAX_NDIM]
    cdef cnp.npy_intp x, y
    cdef View av, bv, ov
    if na < 2 or nb < 2 or cnp.PyArray_DIM(a, na - 1) != cnp.PyArray_DIM(b, nb - 2):
        refuse(f"matmul: {(<object>a).shape} @ {(<object>b).shape}")
    a, b = countable(a, code), countable(b, code)
    for d in range(n - 2):
        x = cnp.PyArray_DIM(a, d - (n - na)) if d >= n - na else 1
        y = cnp.PyArray_DIM(b, d - (n - nb)) if d >= n - nb else 1
        if x != y and x != 1 and y != 1:
            refuse(f"matmul: {(<object>a).shape} @ {(<object>b).shape}")
        shape[d] = y if x == 1 else x
    shape[n - 2] = cnp.PyArray_DIM(a, na - 2)
    shape[n - 1] = cnp.PyArray_DIM(b, nb - 1)
    cdef cnp.ndarray out = new_array(result, n, shape, NULL)
    if cnp.PyArray_SIZE(out) == 0:
        return out
    if n == 2:
        view_of(a, code, &av)
        view_of(b, code, &bv)
    else:
        batch_view(a, code, n, shape, &av)
        batch_view(b, code, n, shape, &bv)
    view_of(out, result, &ov)
    run_product(av, bv, ov, out)
    return out


cdef void batch_view(cnp.ndarray a, int code, int n, const cnp.npy_intp* shape, View* v) noexcept:
    """`a` with its batch axes broadcast to `shape`, its last two as they are."""
    cdef int na = cnp.PyArray_NDIM(a), d
    broadcast_view(a, code, n, shape, v)
    for d in range(2):
        v.shape[n - 2 + d] = cnp.PyArray_DIM(a, na - 2 + d)
        v.strides[n - 2 + d] = cnp.PyArray_STRIDE(a, na - 2 + d)


cdef void turned_view(cnp.ndarray a, int code, View* v) noexcept:
    """The transpose of a matrix."""
    v.data, v.dtype, v.ndim = <char*>cnp.PyArray_DATA(a), code, 2
    v.shape[0], v.shape[1] = cnp.PyArray_DIM(a, 1), cnp.PyArray_DIM(a, 0)
    v.strides[0], v.strides[1] = cnp.PyArray_STRIDE(a, 1), cnp.PyArray_STRIDE(a, 0)


cdef bint rows_view(cnp.ndarray a, int code, View* v) noexcept:
    """`a` (..., n) as a matrix (rows, n); False where its strides do not allow that."""
    cdef int n = cnp.PyArray_NDIM(a), d
    cdef i64 rows = 1, stride = 0, expect = 0
    for d in range(n - 2, -1, -1):
        if cnp.PyArray_DIM(a, d) == 1:
            continue
        if rows == 1:
            stride = cnp.PyArray_STRIDE(a, d)
        elif cnp.PyArray_STRIDE(a, d) != expect:
            return False
        rows *= cnp.PyArray_DIM(a, d)
        expect = stride * rows
    v.data, v.dtype, v.ndim = <char*>cnp.PyArray_DATA(a), code, 2
    v.shape[0], v.shape[1] = rows, cnp.PyArray_DIM(a, n - 1)
    v.strides[0], v.strides[1] = stride, cnp.PyArray_STRIDE(a, n - 1)
    return True


cdef cnp.ndarray as_rows(object x, int code, View* v):
    """`x` as a matrix of rows in `v`; the array that owns its memory."""
    cdef cnp.ndarray a = countable(x, code)
    if not rows_view(a, code, v):
        a = dense_copy(a, code, code)
        rows_view(a, code, v)
    return a


cdef object call_linear(object callable, PyObject** args, size_t nargsf, PyObject* names):
    if names != NULL or PyVectorcall_NARGS(nargsf) != 3:
        raise TypeError("kernel linear: wrong number of arguments")
    cdef cnp.ndarray a = array_of(<object>args[0]), w = array_of(<object>args[1]), b = None
    cdef int code = code_of(a), n = cnp.PyArray_NDIM(a), d
    cdef cnp.npy_intp shape[MAX_NDIM]
    cdef View av, wv, bv, ov
    cdef const View* bias = NULL
    cdef const char* dense_bias = NULL
    if n < 1 or cnp.PyArray_NDIM(w) != 2 or cnp.PyArray_DIM(w, 1) != cnp.PyArray_DIM(a, n - 1):
        refuse(f"linear: input {(<object>a).shape}, weight {(<object>w).shape}")
    w = countable(w, code)
    if args[2] != <PyObject*>None:
        b = countable(<object>args[2], code)
        if cnp.PyArray_NDIM(b) != 1 or cnp.PyArray_DIM(b, 0) != cnp.PyArray_DIM(w, 0):
            refuse(f"linear: bias {(<object>b).shape}, weight {(<object>w).shape}")
        view_of(b, code, &bv)
        bias = &bv
    for d in range(n - 1):
        shape[d] = cnp.PyArray_DIM(a, d)
    shape[n - 1] = cnp.PyArray_DIM(w, 0)
    cdef cnp.ndarray out = new_array(code, n, shape, NULL)
    if cnp.PyArray_SIZE(out) == 0:
        return out
    if b is not None:
        dense_bias = <const char*>cnp.PyArray_DATA(b)
    if n == 2 and (code == F32 or code == F64) and cnp.PyArray_ISALIGNED(a) and (
            b is None or cnp.PyArray_IS_C_CONTIGUOUS(b)) and run_small_matmul(
                code, shape[0], shape[1], cnp.PyArray_DIM(a, 1),
                <char*>cnp.PyArray_DATA(a), cnp.PyArray_STRIDE(a, 0), cnp.PyArray_STRIDE(a, 1),
                <char*>cnp.PyArray_DATA(w), cnp.PyArray_STRIDE(w, 1), cnp.PyArray_STRIDE(w, 0),
                dense_bias, <char*>cnp.PyArray_DATA(out)):
        return out
    a = as_rows(a, code, &av)
    turned_view(w, code, &wv)
    rows_view(out, code, &ov)
    run_product(av, wv, ov, out, bias)
    return out


cdef class LinearGrad(Kernel):
    """The gradients of linear that are asked for, from g (..., out), x (..., in) and the weight (out, in)."""
    cdef const ReduceEntry* add[N_DTYPES]

    def __init__(self, str name):
        cdef int i
        self.vectorcall = <vectorcallfunc>call_linear_grad
        self.name, self.origin = name, "native"
        for i in range(N_DTYPES):
            self.add[i] = find_reduce(b"reduce_sum", F32 if i == F16 or i == BF16 else i)

    def codes(self):
        """The dtype codes that this kernel covers."""
        return [F16, BF16, F32, F64]


cdef object call_linear_grad(object callable, PyObject** args, size_t nargsf, PyObject* names):
    if names != NULL or PyVectorcall_NARGS(nargsf) != 4:
        raise TypeError("kernel linear_grad: wrong number of arguments")
    cdef LinearGrad kernel = <LinearGrad>callable
    cdef cnp.ndarray g = array_of(<object>args[0]), x = array_of(<object>args[1]), w = array_of(<object>args[2])
    cdef cnp.ndarray g_rows, x_rows, gx = None, gw = None, gb = None
    cdef int code = code_of(x), n = cnp.PyArray_NDIM(x)
    cdef View gv, gt, xv, wv, ov
    cdef cbool reduced[2]
    cdef Status status
    if n < 1 or cnp.PyArray_NDIM(g) != n or cnp.PyArray_NDIM(w) != 2 or cnp.PyArray_DIM(w, 1) != cnp.PyArray_DIM(x, n - 1) or (
            cnp.PyArray_DIM(w, 0) != cnp.PyArray_DIM(g, n - 1) or memcmp(
                cnp.PyArray_DIMS(g), cnp.PyArray_DIMS(x), (n - 1) * sizeof(cnp.npy_intp)) != 0):
        refuse(f"linear_grad: gradient {(<object>g).shape}, input {(<object>x).shape}, weight {(<object>w).shape}")
    needs_x, needs_w, needs_b = <object>args[3]
    g_rows = as_rows(g, code, &gv)
    if needs_x:
        w = countable(w, code)
        view_of(w, code, &wv)
        gx = new_array(code, n, cnp.PyArray_DIMS(x), NULL)
        if cnp.PyArray_SIZE(gx):
            rows_view(gx, code, &ov)
            run_product(gv, wv, ov, gx)
    if needs_w:
        x_rows = as_rows(x, code, &xv)
        gw = new_array(code, 2, cnp.PyArray_DIMS(w), NULL)
        if cnp.PyArray_SIZE(gw):
            gt = gv
            gt.shape[0], gt.shape[1] = gv.shape[1], gv.shape[0]
            gt.strides[0], gt.strides[1] = gv.strides[1], gv.strides[0]
            view_of(gw, code, &ov)
            run_product(gt, xv, ov, gw)
    if needs_b:
        gb = new_array(code, 1, cnp.PyArray_DIMS(w), NULL)
        reduced[0], reduced[1] = True, False
        if gv.size() < INLINE_BELOW:
            status = run_reduce(kernel.add[code][0], gv, reduced, <char*>cnp.PyArray_DATA(gb), code, 1.0)
        else:
            with nogil:
                status = run_reduce(kernel.add[code][0], gv, reduced, <char*>cnp.PyArray_DATA(gb), code, 1.0)
        check(status, gb)
    return tuple([one for one in (gx, gw, gb) if one is not None])


_enable_vectorcall(LinearGrad, LinearGrad(""))
_enable_vectorcall(Contract, Contract("", None))
_enable_vectorcall(Linear, Linear(""))
