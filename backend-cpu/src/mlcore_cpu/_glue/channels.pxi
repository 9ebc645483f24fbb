# Batch norm and pooling: arrays in their own layout, channels-last or planes.

cdef bint is_channels_last(cnp.ndarray a) noexcept:
    """Dense in the order (N, *S, C), and not plain C order as well."""
    return cnp.PyArray_NDIM(a) >= 3 and not cnp.PyArray_IS_C_CONTIGUOUS(a) and dense_channels_last(a)


cdef cnp.ndarray channel_layout(object x, int work, bint last):
    return channels_last(x, work) if last else contiguous(x, work)


cdef cnp.ndarray new_channel_layout(cnp.ndarray like, int work, bint last):
    if last:
        return new_channels_last(work, cnp.PyArray_NDIM(like), cnp.PyArray_DIMS(like))
    return new_array(work, cnp.PyArray_NDIM(like), cnp.PyArray_DIMS(like), NULL)


cdef Follow follow_of(str activation):
    return FOLLOW_RELU if activation == "relu" else FOLLOW_RELU6 if activation == "relu6" else FOLLOW_NOTHING


def batch_norm(x, weight, bias, eps, activation):
    """(y, mean, rstd) of each channel of (N, C, *S), in x's own layout."""
    cdef cnp.ndarray source = array_of(x)
    cdef int code = code_of(source), work = work_code(code)
    cdef bint last = is_channels_last(source)
    if cnp.PyArray_NDIM(source) < 2:
        refuse(f"batch_norm: expected (N, C, ...), got shape {x.shape}")
    cdef cnp.ndarray a = channel_layout(source, work, last)
    w, b = optional(weight, work), optional(bias, work)
    expect("batch_norm", "weight", w, (cnp.PyArray_DIM(a, 1),))
    expect("batch_norm", "bias", b, (cnp.PyArray_DIM(a, 1),))
    cdef i64 c = cnp.PyArray_DIM(a, 1), inner = prod((<object>a).shape[2:]), outer = cnp.PyArray_DIM(a, 0)
    if last:
        outer, inner = outer * inner, 1
    cdef cnp.ndarray y = new_channel_layout(a, work, last)
    cdef cnp.ndarray mean = new_shaped(work, (c,)), rstd = new_shaped(work, (c,))
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef const void* wd = pointer(w)
    cdef const void* bd = pointer(b)
    cdef void* yd = cnp.PyArray_DATA(y)
    cdef void* md = cnp.PyArray_DATA(mean)
    cdef void* rd = cnp.PyArray_DATA(rstd)
    cdef double epsilon = eps
    cdef Follow follow = follow_of(activation)
    cdef Status status
    with nogil:
        status = run_batch_norm(work, xd, wd, bd, yd, md, rd, outer, c, inner, epsilon, follow)
    check(status, y)
    return narrowed(y, code), narrowed(mean, code), narrowed(rstd, code)


def batch_norm_grad(g, x, weight, bias, mean, rstd, activation):
    """(gx, gw, gb) of batch_norm."""
    cdef cnp.ndarray source = array_of(x)
    cdef int code = code_of(source), work = work_code(code)
    cdef bint last = is_channels_last(source)
    if cnp.PyArray_NDIM(source) < 2:
        refuse(f"batch_norm_grad: expected (N, C, ...), got shape {x.shape}")
    expect("batch_norm_grad", "the gradient", g, x.shape)
    cdef cnp.ndarray a = channel_layout(source, work, last), d = channel_layout(g, work, last)
    cdef cnp.ndarray m = contiguous(mean, work), s = contiguous(rstd, work)
    w, b = optional(weight, work), optional(bias, work)
    for which, one in (("weight", w), ("bias", b), ("mean", m), ("rstd", s)):
        expect("batch_norm_grad", which, one, (cnp.PyArray_DIM(a, 1),))
    cdef i64 c = cnp.PyArray_DIM(a, 1), inner = prod((<object>a).shape[2:]), outer = cnp.PyArray_DIM(a, 0)
    if last:
        outer, inner = outer * inner, 1
    cdef cnp.ndarray gx = new_channel_layout(a, work, last)
    cdef cnp.ndarray gw = new_shaped(work, (c,)), gb = new_shaped(work, (c,))
    cdef const void* gd = cnp.PyArray_DATA(d)
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef const void* wd = pointer(w)
    cdef const void* md = cnp.PyArray_DATA(m)
    cdef const void* bd = pointer(b)
    cdef const void* sd = cnp.PyArray_DATA(s)
    cdef void* gxd = cnp.PyArray_DATA(gx)
    cdef void* gwd = cnp.PyArray_DATA(gw)
    cdef void* gbd = cnp.PyArray_DATA(gb)
    cdef Follow follow = follow_of(activation)
    cdef Status status
    with nogil:
        status = run_batch_norm_grad(work, gd, xd, wd, bd, md, sd, gxd, gwd, gbd, outer, c, inner, follow)
    check(status, gx)
    return narrowed(gx, code), narrowed(gw, code), narrowed(gb, code)


def batch_norm_scale(x, mean, var, weight, bias, eps, activation):
    """Each channel of (N, C, *S) normalised by a given mean and variance, in x's own layout."""
    cdef cnp.ndarray source = array_of(x)
    cdef int code = code_of(source), work = work_code(code)
    cdef bint last = is_channels_last(source)
    if cnp.PyArray_NDIM(source) < 2:
        refuse(f"batch_norm: expected (N, C, ...), got shape {x.shape}")
    cdef cnp.ndarray a = channel_layout(source, work, last), m = contiguous(mean, work), v = contiguous(var, work)
    w, b = optional(weight, work), optional(bias, work)
    for which, one in (("mean", m), ("variance", v), ("weight", w), ("bias", b)):
        expect("batch_norm", which, one, (cnp.PyArray_DIM(a, 1),))
    cdef i64 c = cnp.PyArray_DIM(a, 1), inner = prod((<object>a).shape[2:]), outer = cnp.PyArray_DIM(a, 0)
    if last:
        outer, inner = outer * inner, 1
    cdef cnp.ndarray y = new_channel_layout(a, work, last)
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef const void* md = cnp.PyArray_DATA(m)
    cdef const void* vd = cnp.PyArray_DATA(v)
    cdef const void* wd = pointer(w)
    cdef const void* bd = pointer(b)
    cdef void* yd = cnp.PyArray_DATA(y)
    cdef double epsilon = eps
    cdef Follow follow = follow_of(activation)
    cdef Status status
    with nogil:
        status = run_batch_norm_scale(work, xd, md, vd, wd, bd, yd, outer, c, inner, epsilon, follow)
    check(status, y)
    return narrowed(y, code)


def batch_norm_running(running_mean, running_var, mean, rstd, momentum, count, eps):
    """(mean, var): the running statistics after a batch."""
    cdef int code = code_of(array_of(running_mean)), work = work_code(code)
    cdef cnp.ndarray a = contiguous(running_mean, work), b = contiguous(running_var, work), m = contiguous(mean, work), s = contiguous(rstd, work)
    for which, one in (("the running variance", b), ("mean", m), ("rstd", s)):
        expect("batch_norm_running", which, one, (<object>a).shape)
    cdef cnp.ndarray x = new_array(work, 1, cnp.PyArray_DIMS(a), NULL), y = new_array(work, 1, cnp.PyArray_DIMS(a), NULL)
    run_batch_norm_running(work, cnp.PyArray_DATA(a), cnp.PyArray_DATA(b), cnp.PyArray_DATA(m), cnp.PyArray_DATA(s),
                           cnp.PyArray_DATA(x), cnp.PyArray_DATA(y), cnp.PyArray_SIZE(a), momentum, count, eps)
    return narrowed(x, code), narrowed(y, code)


cdef int pool_shape(PoolShape* s, object shape, object out, object kernel, object stride, object padding, object dilation, bint last, bint with_pad) except -1:
    """Up to three spatial dimensions, missing leading ones of length 1."""
    cdef int k = len(kernel), skip = 3 - k, d, lead = len(shape) - k
    for d in range(3):
        s.in_[d] = s.out[d] = s.kernel[d] = s.stride[d] = s.dilation[d] = 1
        s.pad_lo[d] = 0
        if d >= skip:
            s.in_[d], s.out[d] = shape[lead + d - skip], out[lead + d - skip]
            s.kernel[d], s.stride[d], s.dilation[d] = kernel[d - skip], stride[d - skip], dilation[d - skip]
            s.pad_lo[d] = padding[d - skip][0]
    s.include_pad = with_pad
    if last:
        s.outer, s.inner = shape[0], shape[1]
    else:
        s.outer, s.inner = prod(shape[:lead]), 1
    return 0


cdef object pooled_shape(object shape, object kernel, object stride, object padding, object dilation):
    lead = len(shape) - len(kernel)
    return (*shape[:lead], *[(n + p[0] + p[1] - d * (k - 1) - 1) // s + 1
                             for n, k, s, p, d in zip(shape[lead:], kernel, stride, padding, dilation)])


cdef bint pools_channels_last(cnp.ndarray a) noexcept:
    """Whether windows are taken over all channels at once; turning planes round costs less than one pass of theirs."""
    return is_channels_last(a) or cnp.PyArray_DIM(a, 1) >= 8


cdef object pool(PoolOp op, object x, object kernel, object stride, object padding, object dilation, bint with_pad):
    if len(kernel) > 3 or x.ndim < len(kernel):
        refuse(f"pooling: a kernel of {len(kernel)} dimensions for shape {x.shape}")
    cdef cnp.ndarray source = array_of(x)
    cdef int code = code_of(source), work = work_code(code)
    cdef bint last = len(kernel) == cnp.PyArray_NDIM(source) - 2 and pools_channels_last(source)
    cdef cnp.ndarray a = channel_layout(source, work, last)
    shape = pooled_shape((<object>a).shape, kernel, stride, padding, dilation)
    cdef cnp.npy_intp dims[MAX_NDIM]
    cdef int d
    for d in range(len(shape)):
        dims[d] = shape[d]
    cdef cnp.ndarray y = new_channels_last(work, len(shape), dims) if last else new_array(work, len(shape), dims, NULL)
    cdef PoolShape s
    pool_shape(&s, (<object>a).shape, shape, kernel, stride, padding, dilation, last, with_pad)
    cdef const void* xd = cnp.PyArray_DATA(a)
    cdef void* yd = cnp.PyArray_DATA(y)
    cdef Status status
    with nogil:
        status = run_pool(op, work, s, xd, yd)
    check(status, y)
    return narrowed(y, code)


cdef object pool_grad(PoolOp op, object g, object x, object input_shape, object kernel, object stride, object padding, object dilation, bint with_pad):
    if len(kernel) > 3 or len(input_shape) < len(kernel):
        refuse(f"pooling: a kernel of {len(kernel)} dimensions for shape {input_shape}")
    input_shape = tuple(input_shape)
    expect("pooling", "the gradient", g, pooled_shape(input_shape, kernel, stride, padding, dilation))
    expect("pooling", "the input", x, input_shape)
    cdef cnp.ndarray source = array_of(g if x is None else x)
    cdef int code = code_of(array_of(g)), work = work_code(code), n = len(input_shape), i
    cdef bint last = len(kernel) == n - 2 and pools_channels_last(source)
    cdef cnp.ndarray d = channel_layout(g, work, last)
    a = None if x is None else channel_layout(x, work, last)
    cdef cnp.npy_intp dims[MAX_NDIM]
    for i in range(n):
        dims[i] = input_shape[i]
    cdef cnp.ndarray gx = new_channels_last(work, n, dims) if last else new_array(work, n, dims, NULL)
    cdef PoolShape s
    pool_shape(&s, input_shape, (<object>d).shape, kernel, stride, padding, dilation, last, with_pad)
    cdef const void* gd = cnp.PyArray_DATA(d)
    cdef const void* xd = pointer(a)
    cdef void* gxd = cnp.PyArray_DATA(gx)
    cdef Status status
    with nogil:
        status = run_pool_grad(op, work, s, gd, xd, gxd)
    check(status, gx)
    return narrowed(gx, code)


def max_pool(x, kernel, stride, padding, dilation):
    """Largest element of each window over the trailing dimensions."""
    return pool(POOL_MAX, x, kernel, stride, padding, dilation, True)


def max_pool_grad(g, x, y, kernel, stride, padding, dilation):
    """Each window's gradient to its first largest element."""
    return pool_grad(POOL_MAX, g, x, x.shape, kernel, stride, padding, dilation, True)


def avg_pool(x, kernel, stride, padding, count_include_pad):
    """Mean of each window over the trailing dimensions."""
    return pool(POOL_AVERAGE, x, kernel, stride, padding, (1,) * len(kernel), count_include_pad)


def avg_pool_grad(g, input_shape, kernel, stride, padding, count_include_pad):
    """Each window's gradient shared by its elements."""
    return pool_grad(POOL_AVERAGE, g, None, input_shape, kernel, stride, padding, (1,) * len(kernel), count_include_pad)
