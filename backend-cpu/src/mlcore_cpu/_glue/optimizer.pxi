# Optimizer steps: all parameters in one call, into new arrays or over the old values.

cdef object step_arrays(tuple arrays, int columns, int states, StepArrays* steps, list keep, int code):
    """Fills in the arrays of a step; returns (new parameters, new first states, new second states)."""
    cdef int i, n = len(arrays) // columns
    cdef cnp.ndarray p, g, m = None, v = None, p2, m2, v2
    cdef list new_p = [], new_m = [], new_v = []
    for i in range(n):
        p, g = contiguous(arrays[i], code), contiguous(arrays[n + i], code)
        for j in range(1, columns):
            expect("optimizer step", "a gradient or state", arrays[j * n + i], (<object>p).shape)
        p2 = new_array(code, cnp.PyArray_NDIM(p), cnp.PyArray_DIMS(p), NULL)
        new_p.append(p2)
        keep += [p, g]
        steps[i].p, steps[i].g, steps[i].p2 = cnp.PyArray_DATA(p), cnp.PyArray_DATA(g), cnp.PyArray_DATA(p2)
        steps[i].m = steps[i].v = NULL
        steps[i].m2 = steps[i].v2 = NULL
        steps[i].n = cnp.PyArray_SIZE(p)
        if states >= 1:
            m = contiguous(arrays[2 * n + i], code)
            m2 = new_array(code, cnp.PyArray_NDIM(p), cnp.PyArray_DIMS(p), NULL)
            new_m.append(m2)
            keep.append(m)
            steps[i].m, steps[i].m2 = cnp.PyArray_DATA(m), cnp.PyArray_DATA(m2)
        if states >= 2:
            v = contiguous(arrays[3 * n + i], code)
            v2 = new_array(code, cnp.PyArray_NDIM(p), cnp.PyArray_DIMS(p), NULL)
            new_v.append(v2)
            keep.append(v)
            steps[i].v, steps[i].v2 = cnp.PyArray_DATA(v), cnp.PyArray_DATA(v2)
    return tuple(new_p + new_m + new_v)


def adam_step(tuple arrays, lr, beta1, beta2, eps, weight_decay, decoupled, step):
    """New parameters, first and second moments, in one pass over all of them."""
    cdef int code = code_of(arrays[0]), n = len(arrays) // 4
    cdef AdamParams a
    a.lr, a.beta1, a.beta2, a.eps, a.weight_decay = lr, beta1, beta2, eps, weight_decay
    a.decoupled, a.step = decoupled, step
    cdef StepArrays* steps = <StepArrays*>malloc(max(n, 1) * sizeof(StepArrays))
    if steps == NULL:
        raise MemoryError
    cdef list keep = []
    cdef Status status
    try:
        out = step_arrays(arrays, 4, 2, steps, keep, code)
        with nogil:
            status = run_adam(code, steps, n, a)
        check(status, out[0])
    finally:
        free(steps)
    return out


def sgd_step(tuple arrays, bint has_buffer, lr, momentum, dampening, weight_decay, nesterov, first):
    """New parameters (and momentum buffers), in one pass over all of them."""
    cdef int columns = 3 if has_buffer else 2
    cdef int code = code_of(arrays[0]), n = len(arrays) // columns
    cdef SgdParams a
    a.lr, a.momentum, a.dampening, a.weight_decay = lr, momentum, dampening, weight_decay
    a.nesterov, a.first = nesterov, first
    cdef StepArrays* steps = <StepArrays*>malloc(max(n, 1) * sizeof(StepArrays))
    if steps == NULL:
        raise MemoryError
    cdef list keep = []
    cdef Status status
    try:
        out = step_arrays(arrays, columns, 1 if has_buffer else 0, steps, keep, code)
        with nogil:
            status = run_sgd(code, steps, n, a)
        check(status, out[0])
    finally:
        free(steps)
    return out


cdef extern from *:
    """
    // Whether only a list and one tensor hold this array, and only it holds its memory.
    static inline int mlcore_writable(PyObject* one) {
        PyArrayObject* a = (PyArrayObject*)one;
        const int wanted = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_WRITEABLE | NPY_ARRAY_ALIGNED;
        PyObject* base = PyArray_BASE(a);
        if (Py_REFCNT(one) != 2 || !PyArray_CHKFLAGS(a, wanted)) return 0;
        return base ? PyCapsule_IsValid(base, "mlcore_cpu.block") && Py_REFCNT(base) == 1 : PyArray_CHKFLAGS(a, NPY_ARRAY_OWNDATA);
    }
    """
    bint mlcore_writable(PyObject*) noexcept


cdef void* target(list arrays, Py_ssize_t at, int code, list replaced) except? NULL:
    """Where a new value of arrays[at] goes: over the old one, if nobody else can see it, else into a new array."""
    cdef PyObject* one = PyList_GET_ITEM(arrays, at)
    cdef cnp.ndarray made
    if mlcore_writable(one):
        return cnp.PyArray_DATA(<cnp.ndarray>one)
    made = new_array(code, cnp.PyArray_NDIM(<cnp.ndarray>one), cnp.PyArray_DIMS(<cnp.ndarray>one), NULL)
    replaced.append((at, made))
    return cnp.PyArray_DATA(made)


cdef int update_arrays(list arrays, int columns, int states, StepArrays* steps, list keep, list replaced) except -2:
    """Fills in the arrays of a step that writes over its inputs; -1 where they are not alike."""
    cdef Py_ssize_t i, j, n = len(arrays) // columns
    cdef int code = code_of(<cnp.ndarray>PyList_GET_ITEM(arrays, 0))
    cdef cnp.ndarray p
    cdef PyObject* one
    if code != F32 and code != F64:
        return -1
    for i in range(len(arrays)):
        one = PyList_GET_ITEM(arrays, i)
        if type(<object>one) is not cnp.ndarray or code_of(<cnp.ndarray>one) != code:
            return -1
        j = i % n
        p = <cnp.ndarray>PyList_GET_ITEM(arrays, j)
        if cnp.PyArray_NDIM(<cnp.ndarray>one) != cnp.PyArray_NDIM(p) or memcmp(
                cnp.PyArray_DIMS(<cnp.ndarray>one), cnp.PyArray_DIMS(p), cnp.PyArray_NDIM(p) * sizeof(cnp.npy_intp)) != 0:
            return -1
    p = None
    for i in range(n):
        steps[i].p2 = target(arrays, i, code, replaced)
        steps[i].p = readable(arrays, i, code, keep)
        steps[i].g = readable(arrays, n + i, code, keep)
        steps[i].n = cnp.PyArray_SIZE(<cnp.ndarray>PyList_GET_ITEM(arrays, i))
        steps[i].m = steps[i].v = NULL
        steps[i].m2 = steps[i].v2 = NULL
        if states >= 1:
            steps[i].m2 = target(arrays, 2 * n + i, code, replaced)
            steps[i].m = readable(arrays, 2 * n + i, code, keep)
        if states >= 2:
            steps[i].v2 = target(arrays, 3 * n + i, code, replaced)
            steps[i].v = readable(arrays, 3 * n + i, code, keep)
    return code


cdef const void* readable(list arrays, Py_ssize_t at, int code, list keep) except? NULL:
    """The elements of arrays[at] in C order."""
    cdef PyObject* one = PyList_GET_ITEM(arrays, at)
    cdef cnp.ndarray a
    if cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>one):
        return cnp.PyArray_DATA(<cnp.ndarray>one)
    a = dense_copy(<cnp.ndarray>one, code, code)
    keep.append(a)
    return cnp.PyArray_DATA(a)


cdef Py_ssize_t take_replaced(list arrays, list replaced):
    for at, made in replaced:
        arrays[at] = made
    return len(replaced)


def adam_update(list arrays, double lr, double beta1, double beta2, double eps, double weight_decay, bint decoupled, i64 step):
    """adam_step, in the memory of the parameters and moments that only one tensor holds.

    The other new arrays take their places in the list; returns how many. -1: nothing was done, adam_step can.
    """
    cdef Py_ssize_t n = len(arrays) // 4
    cdef AdamParams a
    a.lr, a.beta1, a.beta2, a.eps, a.weight_decay = lr, beta1, beta2, eps, weight_decay
    a.decoupled, a.step = decoupled, step
    cdef list keep = [], replaced = []
    cdef StepArrays* steps = <StepArrays*>malloc(max(n, 1) * sizeof(StepArrays))
    cdef Status status
    cdef int code
    if steps == NULL:
        raise MemoryError
    try:
        code = update_arrays(arrays, 4, 2, steps, keep, replaced)
        if code < 0:
            return -1
        if step_size(steps, n) < INLINE_BELOW:
            status = run_adam(code, steps, n, a)
        else:
            with nogil:
                status = patient_adam(code, steps, n, a)
        check(status, <cnp.ndarray>PyList_GET_ITEM(arrays, 0))
        return take_replaced(arrays, replaced)
    finally:
        free(steps)


def sgd_update(list arrays, bint has_buffer, double lr, double momentum, double dampening, double weight_decay, bint nesterov, bint first):
    """sgd_step, in the memory of the parameters and buffers that only one tensor holds; returns as adam_update does."""
    cdef int columns = 3 if has_buffer else 2
    cdef Py_ssize_t n = len(arrays) // columns
    cdef SgdParams a
    a.lr, a.momentum, a.dampening, a.weight_decay = lr, momentum, dampening, weight_decay
    a.nesterov, a.first = nesterov, first
    cdef list keep = [], replaced = []
    cdef StepArrays* steps = <StepArrays*>malloc(max(n, 1) * sizeof(StepArrays))
    cdef Status status
    cdef int code
    if steps == NULL:
        raise MemoryError
    try:
        code = update_arrays(arrays, columns, 1 if has_buffer else 0, steps, keep, replaced)
        if code < 0:
            return -1
        if step_size(steps, n) < INLINE_BELOW:
            status = run_sgd(code, steps, n, a)
        else:
            with nogil:
                status = patient_sgd(code, steps, n, a)
        check(status, <cnp.ndarray>PyList_GET_ITEM(arrays, 0))
        return take_replaced(arrays, replaced)
    finally:
        free(steps)


cdef i64 step_size(const StepArrays* steps, Py_ssize_t n) noexcept:
    cdef i64 total = 0
    cdef Py_ssize_t i
    for i in range(n):
        total += steps[i].n
    return total


cdef Status patient_adam(int code, const StepArrays* steps, i64 n, const AdamParams& a) noexcept nogil:
    cdef Patient patient
    cdef Patient* held = &patient  # used: what is not, Cython leaves out, and its constructor with it
    return run_adam(code, steps, n, a) if held != NULL else OK


cdef Status patient_sgd(int code, const StepArrays* steps, i64 n, const SgdParams& a) noexcept nogil:
    cdef Patient patient
    cdef Patient* held = &patient  # used: what is not, Cython leaves out, and its constructor with it
    return run_sgd(code, steps, n, a) if held != NULL else OK
