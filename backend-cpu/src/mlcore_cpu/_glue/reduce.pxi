# Reductions: kernel(x, axes, keepdims) and argmax/argmin(x, axis, keepdims).

cdef const ReduceEntry* find_reduce(bytes name, int code) noexcept:
    cdef int i
    for i in range(table().n_reduce):
        if table().reduce[i].in_ == code and strcmp(table().reduce[i].name, name) == 0:
            return &table().reduce[i]
    return NULL


cdef int reduced_shape(cnp.ndarray a, tuple axes, bint keepdims, cbool* reduced, cnp.npy_intp* shape) except -1:
    """Fills in which axes are reduced and the result's shape; returns its number of axes."""
    cdef int d, n = 0, ndim = cnp.PyArray_NDIM(a)
    for d in range(ndim):
        reduced[d] = False
    for axis in axes:
        reduced[<int>axis] = True
    for d in range(ndim):
        if not reduced[d]:
            shape[n] = cnp.PyArray_DIM(a, d)
            n += 1
        elif keepdims:
            shape[n] = 1
            n += 1
    return n


cdef class Reduction(Kernel):
    """A reduction over axes; dtypes without an entry go to the fallback."""
    cdef const ReduceEntry* entry[N_DTYPES]
    cdef bint divides  # by the number of elements reduced: mean, and var, which takes a correction off it
    cdef bint corrects

    def __init__(self, str name, table_name, fallback, bint divides=False, bint corrects=False):
        cdef int i
        cdef bytes wanted = table_name.encode()
        self.vectorcall = <vectorcallfunc>call_reduction
        self.name, self.origin, self.fallback, self.divides, self.corrects = name, "generated", fallback, divides, corrects
        for i in range(N_DTYPES):
            self.entry[i] = find_reduce(wanted, F32 if i == F16 or i == BF16 else i)

    def codes(self):
        """The dtype codes that this kernel has loops for."""
        return [i for i in range(N_DTYPES) if self.entry[i] != NULL and not (self.divides and i < F16)]


cdef object call_reduction(object callable, PyObject** args, size_t nargsf, PyObject* names):
    """kernel(x, axes, keepdims), of var kernel(x, axes, correction, keepdims)"""
    cdef Reduction k = <Reduction>callable
    cdef Py_ssize_t given = PyVectorcall_NARGS(nargsf), last = 3 if k.corrects else 2
    if names != NULL or given != last + 1:
        raise TypeError(f"kernel {k.name}: wrong number of arguments ({given})")
    cdef cnp.ndarray a = array_of(<object>args[0])
    cdef tuple axes = <object>args[1]
    cdef double correction = <object>args[2] if k.corrects else 0.0
    cdef bint keepdims = <object>args[last]
    cdef int code = code_of(a), d, n, result, ndim = cnp.PyArray_NDIM(a)
    if code < 0 or k.entry[code] == NULL:
        return k.fallback(*[<object>args[i] for i in range(given)])
    cdef cbool reduced[MAX_NDIM]
    cdef cnp.npy_intp shape[MAX_NDIM]
    cdef double divisor = 1.0
    n = reduced_shape(a, axes, keepdims, reduced, shape)
    result = BOOL if k.entry[code].out == BOOL else code
    if k.divides:
        for d in range(ndim):
            if reduced[d]:
                divisor *= cnp.PyArray_DIM(a, d)
        divisor = max(divisor - correction, 0.0)
    cdef cnp.ndarray out = new_array(result, n, shape, NULL)
    cdef View v
    cdef Status status
    view_of(a, code, &v)
    if v.size() < INLINE_BELOW:
        status = run_reduce(k.entry[code][0], v, reduced, <char*>cnp.PyArray_DATA(out), result, divisor)
    else:
        with nogil:
            status = run_reduce(k.entry[code][0], v, reduced, <char*>cnp.PyArray_DATA(out), result, divisor)
    check(status, out)
    return out


cdef class ArgReduction:
    """argmax or argmin along one axis."""
    cdef const ArgEntry* entry[N_DTYPES]
    cdef readonly str name
    cdef public str origin
    cdef public object dtypes
    cdef object fallback

    def __init__(self, str name, table_name, fallback):
        cdef int i, j
        cdef bytes wanted = table_name.encode()
        self.name, self.origin, self.fallback = name, "native", fallback
        for i in range(N_DTYPES):
            self.entry[i] = NULL
            for j in range(table().n_arg):
                if table().arg[j].in_ == (F32 if i == F16 or i == BF16 else i) and strcmp(table().arg[j].name, wanted) == 0:
                    self.entry[i] = &table().arg[j]

    def codes(self):
        """The dtype codes that this kernel has loops for."""
        return [i for i in range(N_DTYPES) if self.entry[i] != NULL]

    def __call__(self, x, axis, keepdims):
        cdef cnp.ndarray a = array_of(x)
        cdef int code = code_of(a), n, along = axis
        if code < 0 or self.entry[code] == NULL:
            return self.fallback(x, axis, keepdims)
        cdef cbool reduced[MAX_NDIM]
        cdef cnp.npy_intp shape[MAX_NDIM]
        n = reduced_shape(a, (axis,), keepdims, reduced, shape)
        cdef cnp.ndarray out = new_array(I64, n, shape, NULL)
        cdef View v
        cdef Status status
        view_of(a, code, &v)
        if v.size() < INLINE_BELOW:
            status = run_arg(self.entry[code][0], v, along, <i64*>cnp.PyArray_DATA(out))
        else:
            with nogil:
                status = run_arg(self.entry[code][0], v, along, <i64*>cnp.PyArray_DATA(out))
        check(status, out)
        return out

    def __repr__(self):
        return f"<cpu kernel {self.name}>"


_enable_vectorcall(Reduction, Reduction("", "", None))
