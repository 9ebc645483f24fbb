# NumPy arrays as Views, new result arrays, errors, and the knobs of the runtime.

_forced = os.environ.get("MLCORE_CPU_ISA") or None
cdef bytes _forced_bytes = _forced.encode() if _forced else None
cdef const char* _isa = choose_isa(<const char*>_forced_bytes if _forced_bytes is not None else NULL)
if _isa == NULL:
    raise ImportError(
        f"mlcore-cpu: no kernels for this processor (MLCORE_CPU_ISA={_forced or 'unset'})\n"
        "  cause: the instruction set is unknown, was not built, or this processor lacks it\n"
        "  fix:   unset MLCORE_CPU_ISA, or use one of v2, v3, v4"
    )
isa = _isa.decode()
onednn_version = dnn_version().decode() if dnn_available() and os.environ.get("MLCORE_CPU_ONEDNN") != "0" else ""
cdef bint use_dnn = bool(onednn_version)

import ml_dtypes

cdef list _descr_objects = [np.dtype(name) for name in (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
    ml_dtypes.bfloat16, "float32", "float64", "complex64", "complex128")]
cdef PyObject* DESCR[N_DTYPES]
cdef signed char CODE[64]
cdef int BF16_NUM = (<cnp.dtype>_descr_objects[BF16]).type_num


cdef void _fill_codes():
    cdef int i
    for i in range(64):
        CODE[i] = -1
    for i in range(N_DTYPES):
        DESCR[i] = <PyObject*>_descr_objects[i]
        if i != BF16:
            CODE[(<cnp.dtype>_descr_objects[i]).type_num] = i
    for name, code in (("b", 1), ("h", 2), ("i", 3), ("B", 5), ("H", 6), ("I", 7)):
        CODE[(<cnp.dtype>np.dtype(name)).type_num] = code
    for name in "lLqQ":  # two C types of one width, whichever those are
        d = np.dtype(name)
        CODE[(<cnp.dtype>d).type_num] = {("i", 4): 3, ("i", 8): 4, ("u", 4): 7, ("u", 8): 8}[(d.kind, d.itemsize)]


_fill_codes()


cdef inline int code_of(cnp.ndarray a) noexcept:
    """Our dtype code, -1 where we have none."""
    cdef int num = cnp.PyArray_TYPE(a)
    if num < 64:
        return CODE[num]
    return BF16 if num == BF16_NUM else -1


def dtype_code(cnp.ndarray a):
    """The code of an array's dtype (DType.index), -1 where we have none."""
    return code_of(a)


cdef inline cnp.ndarray array_of(object x):
    if type(x) is cnp.ndarray:
        return <cnp.ndarray>x
    return np.asarray(x)


cdef inline void view_of(cnp.ndarray a, int code, View* v) noexcept:
    cdef int d
    v.data = <char*>cnp.PyArray_DATA(a)
    v.dtype = code
    v.ndim = cnp.PyArray_NDIM(a)
    for d in range(v.ndim):
        v.shape[d] = cnp.PyArray_DIM(a, d)
        v.strides[d] = cnp.PyArray_STRIDE(a, d)


cdef inline void broadcast_view(cnp.ndarray a, int code, int ndim, const cnp.npy_intp* shape, View* v) noexcept:
    """`a` as a view of `shape`, with stride 0 where it broadcasts."""
    cdef int d, lead = ndim - cnp.PyArray_NDIM(a)
    v.data = <char*>cnp.PyArray_DATA(a)
    v.dtype = code
    v.ndim = ndim
    for d in range(ndim):
        v.shape[d] = shape[d]
        v.strides[d] = 0 if d < lead or cnp.PyArray_DIM(a, d - lead) == 1 else cnp.PyArray_STRIDE(a, d - lead)


cdef void release_block(object capsule) noexcept:
    block_free(<Piece*>PyCapsule_GetPointer(capsule, "mlcore_cpu.block"))


cdef extern from *:
    """
    static inline PyObject* mlcore_new_array(PyObject* descr, int n, const npy_intp* shape, const npy_intp* strides,
                                             void* data, int flags) {
        Py_INCREF(descr);  // NewFromDescr takes it over
        return PyArray_NewFromDescr(&PyArray_Type, (PyArray_Descr*)descr, n, shape, strides, data, flags, NULL);
    }
    """
    object mlcore_new_array(PyObject*, int, const cnp.npy_intp*, const cnp.npy_intp*, void*, int)
    int PyArray_SetBaseObject(cnp.ndarray, object) except -1


cdef cnp.ndarray new_array(int code, int ndim, const cnp.npy_intp* shape, const cnp.npy_intp* strides):
    """An uninitialised array; NumPy's memory if small, ours otherwise. `strides` NULL means C order."""
    cdef i64 nbytes = ITEMSIZE[code]
    cdef int d
    for d in range(ndim):
        nbytes *= shape[d]
    if nbytes < CACHE_FROM:
        if fail_here():
            raise_memory(nbytes, tuple([shape[d] for d in range(ndim)]), code)
        return mlcore_new_array(DESCR[code], ndim, shape, strides, NULL, 0)
    cdef Piece* block = block_alloc(nbytes)
    if block == NULL:
        raise_memory(nbytes, tuple([shape[d] for d in range(ndim)]), code)
    cdef object capsule = PyCapsule_New(block, "mlcore_cpu.block", release_block)
    cdef cnp.ndarray a = mlcore_new_array(
        DESCR[code], ndim, shape, strides, block_data(block), cnp.NPY_ARRAY_WRITEABLE | cnp.NPY_ARRAY_ALIGNED)
    Py_INCREF(capsule)
    PyArray_SetBaseObject(a, capsule)
    return a


cdef cnp.ndarray new_like_order(int code, int ndim, const cnp.npy_intp* shape, cnp.ndarray model):
    """A dense array whose axes lie in memory in the order of `model`'s (same number of axes)."""
    cdef cnp.npy_intp strides[MAX_NDIM]
    cdef int order[MAX_NDIM]
    cdef int i, j, d
    cdef cnp.npy_intp step = ITEMSIZE[code], a, b
    if cnp.PyArray_IS_C_CONTIGUOUS(model):
        return new_array(code, ndim, shape, NULL)
    for i in range(ndim):  # insertion sort: outermost (largest stride) first, ties as they are; length 1 never moves
        j = i
        d = i
        a = cnp.PyArray_STRIDE(model, d)
        a = -a if a < 0 else a
        while j > 0 and shape[d] != 1:
            if shape[order[j - 1]] != 1:
                b = cnp.PyArray_STRIDE(model, order[j - 1])
                b = -b if b < 0 else b
                if b >= a:
                    break
            order[j] = order[j - 1]
            j -= 1
        order[j] = d
    for i in range(ndim - 1, -1, -1):
        strides[order[i]] = step
        step *= shape[order[i]]
    return new_array(code, ndim, shape, strides)


cdef int raise_memory(i64 nbytes, object shape, int code) except -1:
    """OutOfMemoryError with the facts; plain MemoryError where the core is not installed."""
    stats = c_alloc_stats()
    name = _descr_objects[code].name
    what = f"cannot allocate {nbytes:,} bytes for an array of shape {shape}, {name}"
    in_use = f"{stats.in_use:,} bytes" + (f", limit {stats.limit:,}" if stats.limit else "")
    try:
        from mlcore.errors import OutOfMemoryError
    except ImportError:
        raise MemoryError(f"{what}; in use: {in_use}") from None
    raise OutOfMemoryError(what, in_use=in_use, fix="use smaller batches, or free tensors that are no longer needed")


cdef int check(Status status, cnp.ndarray out) except -1:
    """Raise what a driver's status means."""
    if status == OK:
        return 0
    if status == INTERRUPTED:
        return -1  # the poll hook's PyErr_CheckSignals has set the exception
    if status == NO_MEMORY:
        raise_memory(out.nbytes, (<object>out).shape, code_of(out))
    raise NotImplementedError("mlcore-cpu: kernel refused its input")  # callers handle UNSUPPORTED before


cdef int refuse(str what) except -1:
    """Inputs that the core would not pass: they must never reach a loop."""
    try:
        from mlcore.errors import ShapeError as error
    except ImportError:
        error = ValueError
    raise error(what)


cdef int expect(str name, str which, object a, object shape) except -1:
    """Refuse an array (or None) whose shape is not `shape`."""
    if a is not None and (<object>a).shape != shape:
        refuse(f"{name}: {which} has shape {a.shape}, expected {shape}")
    return 0


cdef int check_indices(str name, cnp.ndarray indices, i64 size) except -1:
    """Refuse int64 indices (contiguous) outside [0, size)."""
    cdef const i64* at = <const i64*>cnp.PyArray_DATA(indices)
    cdef i64 i, n = cnp.PyArray_SIZE(indices)
    cdef Status status
    if n < INLINE_BELOW:
        status = run_check_indices(at, n, size)
    else:
        with nogil:
            status = run_check_indices(at, n, size)
    if status == OUT_OF_RANGE:
        for i in range(n):
            if at[i] < 0 or at[i] >= size:
                try:
                    from mlcore.errors import OutOfRangeError as error
                except ImportError:
                    error = IndexError
                raise error(f"{name}: index {at[i]} is out of range for a dimension of size {size}")
    return check(status, indices)


cdef cbool _poll() noexcept nogil:
    cdef bint stop
    with gil:
        stop = PyErr_CheckSignals_() != 0
    return stop


set_poll_hook(_poll)


def get_num_threads():
    """Threads that kernels use, the calling one included."""
    return c_get_num_threads()


def set_num_threads(int n):
    """Use `n` threads from now on; results do not depend on it."""
    if n < 1:
        raise ValueError(f"set_num_threads: n is {n}, expected at least 1")
    with nogil:
        c_set_num_threads(n)


def memory_stats():
    """Bytes of the caching allocator: in_use, peak, reserved, limit (0: none), and its counts."""
    cdef AllocStats s = c_alloc_stats()
    return dict(in_use=s.in_use, peak=s.peak, reserved=s.reserved, limit=s.limit,
                allocations=s.allocations, cache_hits=s.cache_hits)


def set_memory_limit(i64 limit):
    """Refuse allocations beyond `limit` bytes in use; 0 removes the limit."""
    c_set_memory_limit(limit)


def trim_memory(i64 keep=0):
    """Give cached blocks back to the system until at most `keep` bytes are cached; returns the bytes freed."""
    return c_trim_cache(keep)


def fail_allocation(i64 count=-1):
    """For tests: of the allocations from now on, the one after `count` others fails; -1: none. Returns what was left."""
    return c_fail_allocation(count)


def reset_peak_memory():
    """Start measuring the peak anew."""
    c_reset_peak()


cdef inline cnp.ndarray dense_copy(cnp.ndarray a, int code, int to):
    """A C-ordered copy of `a` with dtype code `to`."""
    cdef cnp.ndarray out = new_array(to, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), NULL)
    copy_into(a, code, out, to)
    return out


cdef int copy_into(cnp.ndarray a, int code, cnp.ndarray out, int to) except -1:
    cdef View x, y
    cdef Status status
    expect("copy", "the source", a, (<object>out).shape)
    view_of(a, code, &x)
    view_of(out, to, &y)
    if x.size() < INLINE_BELOW:
        status = run_copy(x, y)
    else:
        with nogil:
            status = run_copy(x, y)
    return check(status, out)


cdef inline cnp.ndarray contiguous(object x, int code):
    """`x` itself if it is C-contiguous of dtype `code`, else such a copy."""
    cdef cnp.ndarray a = array_of(x)
    cdef int own = code_of(a)
    if own == code and cnp.PyArray_IS_C_CONTIGUOUS(a):
        return a
    return dense_copy(a, own, code)
