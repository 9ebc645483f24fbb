# Elementwise kernels: callables with the vectorcall protocol, and a short path for small contiguous operands.

cdef class Kernel:
    """A kernel object; subclasses set `vectorcall`. `dtypes` and `origin` are read by the core."""
    cdef vectorcallfunc vectorcall
    cdef readonly str name
    cdef public str origin
    cdef public object dtypes  # frozenset of DType, filled in by the backend
    cdef object fallback       # the reference, for dtypes without a loop
    cdef dict variants         # value of a trailing parameter -> kernel (gelu's approximate)

    def __repr__(self):
        return f"<cpu kernel {self.name}>"


cdef class Unary(Kernel):
    cdef UnaryLoop loop[N_DTYPES]
    cdef int work[N_DTYPES]
    cdef int out[N_DTYPES]   # the result's dtype code for each input's
    cdef int work_out[N_DTYPES]

    def __init__(self, str name, table_name, fallback, dict variants=None, bint halves=True):
        cdef int i
        cdef const UnaryEntry* e
        cdef bytes wanted = table_name.encode()
        self.vectorcall = <vectorcallfunc>call_unary
        self.name, self.origin, self.fallback, self.variants = name, "generated", fallback, variants
        for i in range(N_DTYPES):
            self.loop[i] = NULL
        for i in range(table().n_unary):
            e = &table().unary[i]
            if strcmp(e.name, wanted) == 0:
                self.loop[e.in_], self.work[e.in_], self.out[e.in_], self.work_out[e.in_] = e.loop, e.in_, e.out, e.out
        for i in (F16, BF16):
            if halves and self.loop[F32] != NULL:
                self.loop[i], self.work[i], self.work_out[i] = self.loop[F32], F32, self.out[F32]
                self.out[i] = self.out[F32] if self.out[F32] == BOOL else i

    def codes(self):
        """The dtype codes that this kernel has loops for."""
        return [i for i in range(N_DTYPES) if self.loop[i] != NULL]


cdef object call_unary(object callable, PyObject** args, size_t nargsf, PyObject* names):
    cdef Unary k = <Unary>callable
    cdef Py_ssize_t n = PyVectorcall_NARGS(nargsf)
    if names != NULL or n != (1 if k.variants is None else 2):
        raise TypeError(f"kernel {k.name}: wrong number of arguments ({n})")
    if k.variants is not None:
        k = <Unary>k.variants[<object>args[1]]
    cdef cnp.ndarray x = array_of(<object>args[0])
    cdef int code = code_of(x)
    if code < 0 or k.loop[code] == NULL:
        return k.fallback(*[<object>args[i] for i in range(n)])
    cdef int ndim = cnp.PyArray_NDIM(x)
    cdef i64 size
    cdef cnp.ndarray out
    cdef View xv, ov
    cdef Status status
    if cnp.PyArray_IS_C_CONTIGUOUS(x) and k.work[code] == code:
        out = new_array(k.out[code], ndim, cnp.PyArray_DIMS(x), NULL)
        size = cnp.PyArray_SIZE(x)
        if size < INLINE_BELOW:
            k.loop[code](cnp.PyArray_DATA(x), cnp.PyArray_DATA(out), size)
            return out
    else:
        out = new_like_order(k.out[code], ndim, cnp.PyArray_DIMS(x), x)
    view_of(x, code, &xv)
    view_of(out, k.out[code], &ov)
    if xv.size() < INLINE_BELOW:
        status = run_unary(k.loop[code], k.work[code], k.work_out[code], xv, ov)
    else:
        with nogil:
            status = run_unary(k.loop[code], k.work[code], k.work_out[code], xv, ov)
    check(status, out)
    return out


cdef class Binary(Kernel):
    cdef BinaryLoop loop[N_DTYPES]
    cdef int work[N_DTYPES]
    cdef int out[N_DTYPES]
    cdef int work_out[N_DTYPES]

    def __init__(self, str name, table_name, fallback, dict variants=None, bint halves=True):
        cdef int i
        cdef const BinaryEntry* e
        cdef bytes wanted = table_name.encode()
        self.vectorcall = <vectorcallfunc>call_binary
        self.name, self.origin, self.fallback, self.variants = name, "generated", fallback, variants
        for i in range(N_DTYPES):
            self.loop[i] = NULL
        for i in range(table().n_binary):
            e = &table().binary[i]
            if strcmp(e.name, wanted) == 0:
                self.loop[e.in_], self.work[e.in_], self.out[e.in_], self.work_out[e.in_] = e.loop, e.in_, e.out, e.out
        for i in (F16, BF16):
            if halves and self.loop[F32] != NULL:
                self.loop[i], self.work[i], self.work_out[i] = self.loop[F32], F32, self.out[F32]
                self.out[i] = self.out[F32] if self.out[F32] == BOOL else i

    def codes(self):
        """The dtype codes that this kernel has loops for."""
        return [i for i in range(N_DTYPES) if self.loop[i] != NULL]


cdef object call_binary(object callable, PyObject** args, size_t nargsf, PyObject* names):
    cdef Binary k = <Binary>callable
    cdef Py_ssize_t n = PyVectorcall_NARGS(nargsf)
    if names != NULL or n != (2 if k.variants is None else 3):
        raise TypeError(f"kernel {k.name}: wrong number of arguments ({n})")
    if k.variants is not None:
        k = <Binary>k.variants[<object>args[2]]
    cdef cnp.ndarray a = array_of(<object>args[0]), b = array_of(<object>args[1])
    cdef int code = code_of(a)
    if code < 0 or k.loop[code] == NULL or code_of(b) != code:
        return k.fallback(*[<object>args[i] for i in range(n)])
    cdef int na = cnp.PyArray_NDIM(a), nb = cnp.PyArray_NDIM(b), mode = -1
    cdef i64 size
    cdef cnp.ndarray out, model = a
    # The short path: one dtype, C order, and equal shapes or a 0-d operand.
    if k.work[code] == code and cnp.PyArray_IS_C_CONTIGUOUS(a) and cnp.PyArray_IS_C_CONTIGUOUS(b):
        if na == nb and (na == 0 or memcmp(cnp.PyArray_DIMS(a), cnp.PyArray_DIMS(b), na * sizeof(cnp.npy_intp)) == 0):
            mode = 0
        elif nb == 0:
            mode = 2
        elif na == 0:
            mode = 1
            model = b
        if mode >= 0:
            size = cnp.PyArray_SIZE(model)
            if size < INLINE_BELOW:
                out = new_array(k.out[code], cnp.PyArray_NDIM(model), cnp.PyArray_DIMS(model), NULL)
                k.loop[code](cnp.PyArray_DATA(a), cnp.PyArray_DATA(b), cnp.PyArray_DATA(out), size, mode)
                return out
    cdef cnp.npy_intp shape[MAX_NDIM]
    cdef int ndim = broadcast_shape(a, b, shape)
    model = order_model(ndim, shape, a, b)
    if model is None:
        out = new_array(k.out[code], ndim, shape, NULL)
    else:
        out = new_like_order(k.out[code], ndim, shape, model)
    cdef View av, bv, ov
    cdef Status status
    broadcast_view(a, code, ndim, shape, &av)
    broadcast_view(b, code, ndim, shape, &bv)
    view_of(out, k.out[code], &ov)
    if ov.size() < INLINE_BELOW:
        status = run_binary(k.loop[code], k.work[code], k.work_out[code], av, bv, ov)
    else:
        with nogil:
            status = run_binary(k.loop[code], k.work[code], k.work_out[code], av, bv, ov)
    check(status, out)
    return out


cdef int broadcast_shape(cnp.ndarray a, cnp.ndarray b, cnp.npy_intp* shape) except -1:
    cdef int na = cnp.PyArray_NDIM(a), nb = cnp.PyArray_NDIM(b)
    cdef int n = na if na > nb else nb, d
    cdef cnp.npy_intp x, y
    for d in range(n):
        x = cnp.PyArray_DIM(a, d - (n - na)) if d >= n - na else 1
        y = cnp.PyArray_DIM(b, d - (n - nb)) if d >= n - nb else 1
        if x != y and x != 1 and y != 1:
            refuse(f"cannot broadcast {(<object>a).shape} with {(<object>b).shape}")
        shape[d] = y if x == 1 else x
    return n


cdef cnp.ndarray order_model(int ndim, const cnp.npy_intp* shape, cnp.ndarray a, cnp.ndarray b):
    """The operand whose memory order the result takes: the first of the result's own shape."""
    cdef cnp.ndarray one
    cdef int d
    for one in (a, b):
        if cnp.PyArray_NDIM(one) != ndim:
            continue
        for d in range(ndim):
            if cnp.PyArray_DIM(one, d) != shape[d]:
                break
        else:
            return one
    return None


def where(condition, x1, x2):
    """x1 where condition, else x2; the three broadcast."""
    cdef cnp.ndarray c = array_of(condition), a = array_of(x1), b = array_of(x2), model
    cdef cnp.npy_intp shape[MAX_NDIM]
    cdef cnp.npy_intp x
    cdef int n = max(cnp.PyArray_NDIM(c), cnp.PyArray_NDIM(a), cnp.PyArray_NDIM(b)), d, lead
    cdef int code = code_of(a)
    if code_of(c) != BOOL or code_of(b) != code:
        refuse(f"where: dtypes {condition.dtype}, {x1.dtype}, {x2.dtype}")
    for d in range(n):
        shape[d] = 1
        for one in (c, a, b):
            lead = n - cnp.PyArray_NDIM(one)
            x = cnp.PyArray_DIM(one, d - lead) if d >= lead else 1
            if x != 1 and shape[d] != 1 and x != shape[d]:
                refuse(f"where: cannot broadcast {condition.shape}, {x1.shape} and {x2.shape}")
            if x != 1:
                shape[d] = x
    model = order_model(n, shape, a, b)
    if model is None:
        model = order_model(n, shape, c, c)
    cdef cnp.ndarray out = new_array(code, n, shape, NULL) if model is None else new_like_order(code, n, shape, model)
    cdef View cv, av, bv, ov
    cdef Status status
    broadcast_view(c, BOOL, n, shape, &cv)
    broadcast_view(a, code, n, shape, &av)
    broadcast_view(b, code, n, shape, &bv)
    view_of(out, code, &ov)
    if ov.size() < INLINE_BELOW:
        status = run_where(cv, av, bv, ov)
    else:
        with nogil:
            status = run_where(cv, av, bv, ov)
    check(status, out)
    return out


cdef class Where(Kernel):
    """where(condition, x1, x2), with a short path for small contiguous operands of one shape."""

    def __init__(self, str name):
        self.vectorcall = <vectorcallfunc>call_where
        self.name, self.origin = name, "native"

    def codes(self):
        """The dtype codes that this kernel covers."""
        return range(13)


cdef object call_where(object callable, PyObject** args, size_t nargsf, PyObject* names):
    if names != NULL or PyVectorcall_NARGS(nargsf) != 3:
        raise TypeError(f"kernel where: wrong number of arguments ({PyVectorcall_NARGS(nargsf)})")
    cdef cnp.ndarray c = array_of(<object>args[0]), a = array_of(<object>args[1]), b = array_of(<object>args[2]), out
    cdef int n = cnp.PyArray_NDIM(c), code = code_of(a)
    cdef size_t bytes = n * sizeof(cnp.npy_intp)
    cdef i64 size = cnp.PyArray_SIZE(c)
    if (
        size < INLINE_BELOW and 0 <= code < 13 and code_of(b) == code and code_of(c) == BOOL
        and cnp.PyArray_NDIM(a) == n and cnp.PyArray_NDIM(b) == n
        and (n == 0 or (memcmp(cnp.PyArray_DIMS(a), cnp.PyArray_DIMS(c), bytes) == 0
                        and memcmp(cnp.PyArray_DIMS(b), cnp.PyArray_DIMS(c), bytes) == 0))
        and cnp.PyArray_IS_C_CONTIGUOUS(a) and cnp.PyArray_IS_C_CONTIGUOUS(b) and cnp.PyArray_IS_C_CONTIGUOUS(c)
    ):
        out = new_array(code, n, cnp.PyArray_DIMS(c), NULL)
        table().select[log2_itemsize(ITEMSIZE[code])](
            <const unsigned char*>cnp.PyArray_DATA(c), <const char*>cnp.PyArray_DATA(a), <const char*>cnp.PyArray_DATA(b),
            <char*>cnp.PyArray_DATA(out), size)
        return out
    return where(c, a, b)


cdef class Astype(Kernel):
    """astype(x, dtype) between real dtypes; the reference has the complex ones."""

    def __init__(self, str name, fallback):
        self.vectorcall = <vectorcallfunc>call_astype
        self.name, self.origin, self.fallback = name, "native", fallback

    def codes(self):
        """The dtype codes that this kernel covers."""
        return range(13)


cdef object call_astype(object callable, PyObject** args, size_t nargsf, PyObject* names):
    cdef Astype k = <Astype>callable
    if names != NULL or PyVectorcall_NARGS(nargsf) != 2:
        raise TypeError(f"kernel {k.name}: wrong number of arguments ({PyVectorcall_NARGS(nargsf)})")
    cdef cnp.ndarray x = array_of(<object>args[0]), out
    cdef int code = code_of(x), to = (<object>args[1]).index
    if code < 0 or code >= 13 or to >= 13:
        return k.fallback(x, <object>args[1])
    cdef i64 size = cnp.PyArray_SIZE(x)
    if size >= INLINE_BELOW or not cnp.PyArray_IS_C_CONTIGUOUS(x):
        return cast(x, to)
    out = new_array(to, cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), NULL)
    table().cast[code][to](cnp.PyArray_DATA(x), cnp.PyArray_DATA(out), size)
    return out


def cast(x, int to):
    """The values as dtype code `to`, in the memory order of x; real dtypes only."""
    cdef cnp.ndarray a = array_of(x)
    cdef cnp.ndarray out = new_like_order(to, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), a)
    copy_into(a, code_of(a), out, to)
    return out


def copy(x):
    """A dense copy in the memory order of x."""
    return cast(x, code_of(array_of(x)))


def as_contiguous(x):
    """x itself if C-contiguous, else a C-ordered copy."""
    cdef cnp.ndarray a = array_of(x)
    return contiguous(a, code_of(a))


cdef void _enable_vectorcall(object kind, Kernel sample):
    cdef PyTypeObject* t = <PyTypeObject*>kind
    t.tp_vectorcall_offset = <char*>&sample.vectorcall - <char*><void*>sample
    t.tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL
    t.tp_call = PyVectorcall_Call
    PyType_Modified(t)


_enable_vectorcall(Unary, Unary("", "", None))
_enable_vectorcall(Binary, Binary("", "", None))
_enable_vectorcall(Where, Where(""))
_enable_vectorcall(Astype, Astype("", None))
