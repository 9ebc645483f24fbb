# Attention: heads as strided views, no copy where the last dimension is dense; results in the layout of the inputs.

cdef cnp.ndarray dense_rows(object x, int work):
    """`x` in the work dtype, with neighbours of the last dimension next to each other and whole strides."""
    cdef cnp.ndarray a = array_of(x)
    cdef int own = code_of(a), n = cnp.PyArray_NDIM(a)
    if own == work and whole_strides(a) and (cnp.PyArray_DIM(a, n - 1) == 1 or cnp.PyArray_STRIDE(a, n - 1) == ITEMSIZE[work]):
        return a
    return dense_copy(a, own, work)


cdef cnp.ndarray new_rows(int work, int n, const cnp.npy_intp* shape, cnp.ndarray model):
    """A new array with the axes in memory in the order of `model`'s, if that leaves the last one innermost."""
    cdef int d
    cdef bint alike = cnp.PyArray_NDIM(model) == n
    if alike:
        for d in range(n):
            alike = alike and cnp.PyArray_DIM(model, d) == shape[d] and cnp.PyArray_STRIDE(model, d) > 0
    cdef cnp.ndarray out
    if alike:
        out = new_like_order(work, n, shape, model)
        if shape[n - 1] == 1 or cnp.PyArray_STRIDE(out, n - 1) == ITEMSIZE[work]:
            return out
    return new_array(work, n, shape, NULL)


cdef int attention_batch(str name, object arrays, int n, cnp.npy_intp* shape) except -1:
    """The batch shape that the arrays broadcast to, in the first n - 2 places of `shape`."""
    cdef int d, lead
    cdef cnp.ndarray a
    cdef cnp.npy_intp size
    for d in range(n - 2):
        shape[d] = 1
    for one in arrays:
        a = one
        lead = n - cnp.PyArray_NDIM(a)
        for d in range(lead, n - 2):
            size = cnp.PyArray_DIM(a, d - lead)
            if size != 1:
                if shape[d] != 1 and shape[d] != size:
                    refuse(f"{name}: batch dimensions of {[x.shape for x in arrays]}")
                shape[d] = size
    return 0


cdef int attention_views(AttentionArrays* t, str name, cnp.ndarray q, cnp.ndarray k, cnp.ndarray v, object mask, int work, int n, cnp.npy_intp* shape) except -1:
    """Fill in the inputs; `shape` becomes the result's."""
    cdef cnp.npy_intp scores[MAX_NDIM]
    cdef cnp.ndarray m
    cdef int d
    if cnp.PyArray_DIM(q, q.ndim - 1) != cnp.PyArray_DIM(k, k.ndim - 1) or cnp.PyArray_DIM(k, k.ndim - 2) != cnp.PyArray_DIM(v, v.ndim - 2):
        refuse(f"{name}: q {(<object>q).shape}, k {(<object>k).shape}, v {(<object>v).shape}")
    attention_batch(name, (q, k, v), n, shape)
    batch_view(q, work, n, shape, &t.q)
    batch_view(k, work, n, shape, &t.k)
    batch_view(v, work, n, shape, &t.v)
    shape[n - 2], shape[n - 1] = cnp.PyArray_DIM(q, q.ndim - 2), cnp.PyArray_DIM(v, v.ndim - 1)
    t.masked = mask is not None
    if t.masked:
        m = mask
        for d in range(n - 1):
            scores[d] = shape[d]
        scores[n - 1] = cnp.PyArray_DIM(k, k.ndim - 2)
        for d in range(cnp.PyArray_NDIM(m)):
            if cnp.PyArray_DIM(m, d) != 1 and cnp.PyArray_DIM(m, d) != scores[n - cnp.PyArray_NDIM(m) + d]:
                refuse(f"{name}: mask {(<object>m).shape}")
        broadcast_view(m, code_of(m), n, scores, &t.mask)
    return 0


cdef object attention_mask(object mask, int work):
    """A bool mask as it is, another one in the work dtype."""
    if mask is None:
        return None
    cdef cnp.ndarray m = array_of(mask)
    cdef int own = code_of(m)
    return m if (own == BOOL or own == work) and whole_strides(m) else dense_copy(m, own, BOOL if own == BOOL else work)


cdef int deepest(object arrays) except -1:
    return max([one.ndim for one in arrays])


def attention(q, k, v, mask, bint is_causal, double scale):
    """(y, lse): softmax(q @ k.mT * scale + mask) @ v, and the log of each row's sum."""
    cdef int code = code_of(array_of(q)), work = work_code(code), n = deepest((q, k, v))
    cdef cnp.ndarray a = dense_rows(q, work), b = dense_rows(k, work), c = dense_rows(v, work)
    cdef AttentionArrays t
    cdef cnp.npy_intp shape[MAX_NDIM]
    m = attention_mask(mask, work)
    attention_views(&t, "attention", a, b, c, m, work, n, shape)
    cdef cnp.ndarray y = new_rows(work, n, shape, a), lse = new_array(work, n - 1, shape, NULL)
    cdef Status status
    if cnp.PyArray_SIZE(y) or cnp.PyArray_SIZE(lse):
        view_of(y, work, &t.y)
        t.causal, t.scale, t.lse = is_causal, scale, cnp.PyArray_DATA(lse)
        with nogil:
            status = run_attention(t)
        check(status, y)
    return narrowed(y, code), lse


cdef object folded(cnp.ndarray full, object like, int code):
    """A gradient without the dimensions that broadcasting had added, in dtype `code`."""
    if (<object>full).shape != like.shape:
        lead = full.ndim - like.ndim
        axes = tuple(range(lead)) + tuple([d + lead for d in range(like.ndim) if like.shape[d] == 1 and full.shape[d + lead] != 1])
        return narrowed((<object>full).sum(axis=axes, keepdims=True).reshape(like.shape), code)
    return narrowed(full, code)


def attention_grad(g, q, k, v, y, lse, mask, bint is_causal, double scale):
    """(gq, gk, gv) of attention."""
    cdef int code = code_of(array_of(q)), work = work_code(code), n = deepest((q, k, v)), d
    cdef cnp.ndarray a = dense_rows(q, work), b = dense_rows(k, work), c = dense_rows(v, work)
    cdef cnp.ndarray e = dense_rows(g, work), f = dense_rows(y, work), s = contiguous(lse, work)
    cdef AttentionArrays t
    cdef cnp.npy_intp shape[MAX_NDIM]
    cdef cnp.npy_intp sizes[MAX_NDIM]
    m = attention_mask(mask, work)
    attention_views(&t, "attention_grad", a, b, c, m, work, n, shape)
    wanted = tuple([shape[d] for d in range(n)])
    for which, one in (("the gradient", e), ("the output", f)):
        expect("attention_grad", which, one, wanted)
    expect("attention_grad", "lse", s, wanted[:n - 1])
    view_of(e, work, &t.g)
    view_of(f, work, &t.y)
    for d in range(n - 2):
        sizes[d] = shape[d]
    sizes[n - 2], sizes[n - 1] = t.q.shape[n - 2], t.q.shape[n - 1]
    cdef cnp.ndarray gq = new_rows(work, n, sizes, a)
    sizes[n - 2] = t.k.shape[n - 2]
    cdef cnp.ndarray gk = new_rows(work, n, sizes, b)
    sizes[n - 1] = t.v.shape[n - 1]
    cdef cnp.ndarray gv = new_rows(work, n, sizes, c)
    view_of(gq, work, &t.gq)
    view_of(gk, work, &t.gk)
    view_of(gv, work, &t.gv)
    t.causal, t.scale, t.lse = is_causal, scale, cnp.PyArray_DATA(s)
    cdef Status status
    if cnp.PyArray_SIZE(s) == 0 or t.k.shape[n - 2] == 0:
        for one in (gq, gk, gv):
            one[...] = 0
    else:
        with nogil:
            status = run_attention_grad(t)
        check(status, gq)
    return folded(gq, q, code), folded(gk, k, code), folded(gv, v, code)
