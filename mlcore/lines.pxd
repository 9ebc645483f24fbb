cimport cython

cdef dict _internal

cdef extern from *:
    """
    /* The same lines record again and again: their pairs are kept, by place in the code. */
    static struct { PyCodeObject *code; int offset; PyObject *pair; } mlcore_lines[512];

    static PyObject *mlcore_near_line(PyObject *known) {
        PyFrameObject *frame = PyEval_GetFrame();
        if (!frame) Py_RETURN_NONE;
        PyCodeObject *code = PyFrame_GetCode(frame);
        int offset = PyFrame_GetLasti(frame);
        size_t at = (((size_t)code >> 4) * 31 + (size_t)offset) % 512;
        if (mlcore_lines[at].code == code && mlcore_lines[at].offset == offset) {
            Py_DECREF(code);
            Py_INCREF(mlcore_lines[at].pair);
            return mlcore_lines[at].pair;
        }
        PyObject *found = NULL, *inside = PyDict_GetItem(known, code->co_filename);
        if (inside != Py_False) {
            Py_DECREF(code);
            Py_RETURN_NONE;
        }
        found = Py_BuildValue("(Oi)", code, offset);
        if (found) {  /* the pair holds the code, so its address stays its own */
            PyObject *before = mlcore_lines[at].pair;
            Py_INCREF(found);
            mlcore_lines[at].code = code;
            mlcore_lines[at].offset = offset;
            mlcore_lines[at].pair = found;
            Py_XDECREF(before);
        }
        Py_DECREF(code);
        return found;
    }
    """
    object near_line "mlcore_near_line" (dict known)

@cython.locals(frame=object, inside=object)
cpdef user_line()
