# Convolutions. None means "not here": the backend then takes its other way.


cdef bint dense_channels_last(cnp.ndarray a) noexcept:
    """Whether memory has the order (N, *S, C)."""
    cdef int n = cnp.PyArray_NDIM(a), d
    cdef i64 expect = cnp.PyArray_ITEMSIZE(a)
    if cnp.PyArray_DIM(a, 1) != 1 and cnp.PyArray_STRIDE(a, 1) != expect:
        return False
    expect *= cnp.PyArray_DIM(a, 1)
    for d in range(n - 1, -1, -1):
        if d != 1:
            if cnp.PyArray_DIM(a, d) != 1 and cnp.PyArray_STRIDE(a, d) != expect:
                return False
            expect *= cnp.PyArray_DIM(a, d)
    return True


cdef cnp.ndarray channels_last(object x, int code):
    """`x` (N, C, *S) with memory order (N, *S, C): itself if it has that, else a copy."""
    cdef cnp.ndarray a = array_of(x)
    if code_of(a) == code and dense_channels_last(a):
        return a
    cdef cnp.ndarray out = new_channels_last(code, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a))
    copy_into(a, code_of(a), out, code)
    return out


cdef bint wants_channels_last(const ConvShape* s, int code) noexcept:
    """Whether what will serve it reads channels-last memory only."""
    if use_dnn:
        return winograd_serves(s[0], code)
    return winograd_serves(s[0], code) or pointwise_serves(s[0], code) or depthwise_serves(s[0], code)


cdef cnp.ndarray activation(object x, int code, ConvShape* s, Activation* out):
    """`x` as a convolution reads it: channels-last or planes, else a channels-last copy; it must outlive `out`."""
    cdef cnp.ndarray a = array_of(x)
    out.planes = code_of(a) == code and cnp.PyArray_IS_C_CONTIGUOUS(a) and not dense_channels_last(a) and not wants_channels_last(s, code)
    if not out.planes:
        a = channels_last(a, code)
    out.data = <const char*>cnp.PyArray_DATA(a)
    return a


cdef cnp.ndarray new_channels_last(int code, int n, const cnp.npy_intp* shape):
    cdef cnp.npy_intp strides[MAX_NDIM]
    cdef cnp.npy_intp step = ITEMSIZE[code]
    cdef int d
    strides[1] = step
    step *= shape[1]
    for d in range(n - 1, 1, -1):
        strides[d] = step
        step *= shape[d]
    strides[0] = step
    return new_array(code, n, shape, strides)


cdef int conv_shape(ConvShape* s, object x_shape, object w_shape, object stride, object padding, object dilation, i64 groups) except -1:
    cdef int d, k = len(stride)
    if k > 3 or len(x_shape) != k + 2 or len(w_shape) != k + 2 or groups < 1 or x_shape[1] != w_shape[1] * groups or w_shape[0] % groups:
        refuse(f"convolution: input {x_shape}, weight {w_shape}, groups {groups}, stride {stride}")
    s.spatial = k
    s.n, s.c, s.o, s.groups = x_shape[0], x_shape[1], w_shape[0], groups
    for d in range(k):
        s.in_[d], s.kernel[d] = x_shape[2 + d], w_shape[2 + d]
        s.stride[d], s.dilation[d] = stride[d], dilation[d]
        s.pad_lo[d], s.pad_hi[d] = padding[d][0], padding[d][1]
        s.out[d] = (s.in_[d] + s.pad_lo[d] + s.pad_hi[d] - s.dilation[d] * (s.kernel[d] - 1) - 1) // s.stride[d] + 1
    return 0


cdef object conv_output(ConvShape* s):
    """The shape of the convolution's result."""
    return (s.n, s.o, *[s.out[d] for d in range(s.spatial)])


cdef bint conv_usable(ConvShape* s, int code) noexcept:
    cdef int d
    if code == BF16 and (s.c // s.groups % 16 or s.o // s.groups % 16):
        return False  # its kernels multiply neighbouring channels by zero padding, which spreads inf and nan
    if not (use_dnn or wants_channels_last(s, code)) or (code != F32 and code != BF16) or s.n == 0 or s.c == 0 or s.o == 0 or s.spatial > 3:
        return False
    for d in range(s.spatial):
        if s.out[d] <= 0 or s.in_[d] == 0 or s.pad_lo[d] < 0 or s.pad_hi[d] < 0:
            return False
    return True


cdef Status conv_forward(const ConvShape& s, int code, Activation x, const char* w, const char* bias, char* y, const Finish* finish) noexcept nogil:
    cdef Status status = UNSUPPORTED
    cdef i64 rows = s.n
    cdef int d
    if not x.planes and pointwise_serves(s, code) and (is_pointwise(s) or not use_dnn):  # it reads strides where they lie
        return pointwise_forward(s, x.data, w, bias, y, finish)
    if not use_dnn and depthwise_serves(s, code):  # its kernels are a little faster than ours
        return depthwise_forward(s, x.data, w, bias, y, finish)
    status = winograd_forward(s, code, x, w, bias, y)
    if status == OK and finish != NULL:
        for d in range(s.spatial):
            rows *= s.out[d]
        return run_finish(finish[0], <float*>y, rows, s.o)
    if status == UNSUPPORTED and use_dnn:
        status = dnn_conv_forward(s, code, x, w, bias, y, finish)
    return status


cdef object conv_made(ConvShape* s, int code, object x, object weight, object bias, const Finish* finish):
    cdef Activation ax
    cdef cnp.ndarray a = activation(x, code, s, &ax), w = contiguous(weight, code), b = optional(bias, code)
    cdef cnp.npy_intp shape[MAX_NDIM]
    cdef int d
    shape[0], shape[1] = s.n, s.o
    for d in range(s.spatial):
        shape[2 + d] = s.out[d]
    cdef cnp.ndarray out = new_channels_last(code, s.spatial + 2, shape)
    cdef const char* wd = <const char*>cnp.PyArray_DATA(w)
    cdef const char* bd = <const char*>pointer(b)
    cdef char* od = <char*>cnp.PyArray_DATA(out)
    cdef Status status
    with nogil:
        status = conv_forward(s[0], code, ax, wd, bd, od, finish)
    if status == UNSUPPORTED:
        return None
    check(status, out)
    return out


def convolution(x, weight, bias, stride, padding, dilation, groups):
    """NCHW-shaped result with channels-last strides; None where oneDNN cannot."""
    cdef ConvShape s
    cdef int code = code_of(array_of(x))
    conv_shape(&s, x.shape, weight.shape, stride, padding, dilation, groups)
    expect("convolution", "bias", bias, (s.o,))
    if not conv_usable(&s, code):
        return None
    return conv_made(&s, code, x, weight, bias, NULL)


def convolution_norm(x, weight, bias, mean, var, gain, offset, stride, padding, dilation, groups, eps, activation):
    """A convolution, batch norm by given statistics and an activation, finished where a piece of it is made; or None."""
    cdef ConvShape s
    cdef int code = code_of(array_of(x))
    conv_shape(&s, x.shape, weight.shape, stride, padding, dilation, groups)
    for which, one in (("bias", bias), ("mean", mean), ("variance", var), ("gain", gain), ("offset", offset)):
        expect("convolution_norm", which, one, (s.o,))
    if code != F32 or not conv_usable(&s, code):
        return None
    cdef cnp.ndarray m = contiguous(mean, code), v = contiguous(var, code)
    b, g, o = optional(bias, code), optional(gain, code), optional(offset, code)
    cdef cnp.ndarray scale = new_shaped(code, (s.o,)), shift = new_shaped(code, (s.o,))
    cdef Finish finish
    finish.scale, finish.shift = <const float*>cnp.PyArray_DATA(scale), <const float*>cnp.PyArray_DATA(shift)
    fold_norm(<const float*>pointer(b), <const float*>cnp.PyArray_DATA(m), <const float*>cnp.PyArray_DATA(v), <const float*>pointer(g),
              <const float*>pointer(o), s.o, eps, <float*>cnp.PyArray_DATA(scale), <float*>cnp.PyArray_DATA(shift))
    cdef Follow follow = follow_of(activation)
    finish.bounded, finish.low = follow != FOLLOW_NOTHING, 0
    finish.high = 6 if follow == FOLLOW_RELU6 else INFINITY
    return conv_made(&s, code, x, weight, None, &finish)


def convolution_grad_input(g, weight, input_shape, stride, padding, dilation, groups):
    """The gradient of a convolution's input, channels-last; None where oneDNN cannot."""
    cdef ConvShape s
    cdef int code = code_of(array_of(g)), d
    conv_shape(&s, tuple(input_shape), weight.shape, stride, padding, dilation, groups)
    expect("convolution_grad_input", "the gradient", g, conv_output(&s))
    if not conv_usable(&s, code):
        return None
    cdef Activation ag
    cdef cnp.ndarray a = activation(g, code, &s, &ag), w = contiguous(weight, code)
    cdef cnp.npy_intp shape[MAX_NDIM]
    shape[0], shape[1] = s.n, s.c
    for d in range(s.spatial):
        shape[2 + d] = s.in_[d]
    cdef cnp.ndarray out = new_channels_last(code, s.spatial + 2, shape)
    cdef const char* wd = <const char*>cnp.PyArray_DATA(w)
    cdef char* od = <char*>cnp.PyArray_DATA(out)
    cdef Status status
    with nogil:
        if not ag.planes and pointwise_serves(s, code) and (is_pointwise(s) or not use_dnn):
            status = pointwise_grad_input(s, ag.data, wd, od)
        elif not use_dnn and depthwise_serves(s, code):
            status = depthwise_grad_input(s, ag.data, wd, od)
        else:
            status = winograd_grad_input(s, code, ag, wd, od)
        if status == UNSUPPORTED and use_dnn:
            status = dnn_conv_grad_input(s, code, ag, wd, od)
    if status == UNSUPPORTED:
        return None
    check(status, out)
    return out


def convolution_grad_weight(g, x, weight_shape, stride, padding, dilation, groups):
    """The gradient of a convolution's weight; None where oneDNN cannot."""
    cdef ConvShape s
    cdef int code = code_of(array_of(g)), d
    conv_shape(&s, x.shape, tuple(weight_shape), stride, padding, dilation, groups)
    expect("convolution_grad_weight", "the gradient", g, conv_output(&s))
    if not conv_usable(&s, code):
        return None
    cdef Activation ag, ax
    cdef cnp.ndarray a = activation(g, code, &s, &ag), b = activation(x, code, &s, &ax)
    cdef cnp.npy_intp shape[MAX_NDIM]
    for d in range(s.spatial + 2):
        shape[d] = weight_shape[d]
    cdef cnp.ndarray out = new_array(F32, s.spatial + 2, shape, NULL)
    cdef float* od = <float*>cnp.PyArray_DATA(out)
    cdef Status status
    with nogil:
        if not (ag.planes or ax.planes) and pointwise_serves(s, code):
            status = pointwise_grad_weight(s, ag.data, ax.data, <char*>od)
        elif not use_dnn and depthwise_serves(s, code):
            status = depthwise_grad_weight(s, ag.data, ax.data, <char*>od)
        else:
            status = winograd_grad_weight(s, code, ag, ax, od)
        if status == UNSUPPORTED and use_dnn:
            status = dnn_conv_grad_weight(s, code, ag, ax, od)
    if status == UNSUPPORTED:
        return None
    check(status, out)
    return out if code == F32 else dense_copy(out, F32, code)


def set_winograd(int use):
    """0: never, 1: where it pays, 2: wherever it can be. Returns what was set. For tests and measurements."""
    return <int>_set_winograd(<WinogradUse>use)
