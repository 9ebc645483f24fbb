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


cdef cnp.ndarray activation(object x, int code, ConvShape* s, Activation* out):
    """`x` as a convolution reads it: channels-last or planes, else a channels-last copy; it must outlive `out`."""
    cdef cnp.ndarray a = array_of(x)
    out.planes = code_of(a) == code and cnp.PyArray_IS_C_CONTIGUOUS(a) and not dense_channels_last(a) and not winograd_serves(s[0], code)
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
    if not (use_dnn or winograd_serves(s[0], code)) or (code != F32 and code != BF16) or s.n == 0 or s.c == 0 or s.o == 0 or s.spatial > 3:
        return False
    for d in range(s.spatial):
        if s.out[d] <= 0 or s.in_[d] == 0 or s.pad_lo[d] < 0 or s.pad_hi[d] < 0:
            return False
    return True


def convolution(x, weight, bias, stride, padding, dilation, groups):
    """NCHW-shaped result with channels-last strides; None where oneDNN cannot."""
    cdef ConvShape s
    cdef int code = code_of(array_of(x)), d
    conv_shape(&s, x.shape, weight.shape, stride, padding, dilation, groups)
    expect("convolution", "bias", bias, (s.o,))
    if not conv_usable(&s, code):
        return None
    cdef Activation ax
    cdef cnp.ndarray a = activation(x, code, &s, &ax), w = contiguous(weight, code), b = None
    cdef cnp.npy_intp shape[MAX_NDIM]
    cdef const char* bias_data = NULL
    if bias is not None:
        b = contiguous(bias, code)
        bias_data = <const char*>cnp.PyArray_DATA(b)
    shape[0], shape[1] = s.n, s.o
    for d in range(s.spatial):
        shape[2 + d] = s.out[d]
    cdef cnp.ndarray out = new_channels_last(code, s.spatial + 2, shape)
    cdef const char* wd = <const char*>cnp.PyArray_DATA(w)
    cdef char* od = <char*>cnp.PyArray_DATA(out)
    cdef Status status
    with nogil:
        status = winograd_forward(s, code, ax, wd, bias_data, od)
        if status == UNSUPPORTED and use_dnn:
            status = dnn_conv_forward(s, code, ax, wd, bias_data, od)
    if status == UNSUPPORTED:
        return None
    check(status, out)
    return out


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
