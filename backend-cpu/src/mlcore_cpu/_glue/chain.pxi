# Chains of elementwise steps (csrc/chain.hpp) over the arrays of many parameters at once.

cdef ChainLoop chain_loop(bytes name, bytes left, bytes right, int code) noexcept:
    cdef int i
    cdef const ChainEntry* e
    for i in range(table().chain.n):
        e = &table().chain.entries[i]
        if e.dtype == code and strcmp(e.name, name) == 0 and strcmp(e.left, left) == 0 and strcmp(e.right, right) == 0:
            return e.loop
    return NULL


def chain_has(str name, str left, str right, int code):
    """Whether there is one loop for an operation of what is done to its operands first."""
    return chain_loop(name.encode(), left.encode(), right.encode(), code) != NULL


cdef ChainStep chain_step(tuple line) except *:
    cdef str kind, name
    cdef int code, result, i
    cdef list places
    cdef ChainStep made
    kind, name, code, result, places, mode = line
    made.to, made.itemsize, made.mode = places[0], ITEMSIZE[code], 0
    for i in range(5):
        made.from_[i] = places[1 + i]
    made.arithmetic = NULL
    made.unary = NULL
    made.binary = NULL
    cdef bytes wanted = name.encode()
    if kind == "copy":
        made.kind = CHAIN_COPY
    elif kind == "fill":
        made.kind = CHAIN_FILL
    elif kind == "select":
        made.kind = CHAIN_SELECT
    elif kind == "arithmetic":
        made.kind, made.arithmetic = CHAIN_ARITHMETIC, chain_loop(wanted, mode[0].encode(), mode[1].encode(), code)
    elif kind == "cast":
        made.kind, made.unary = CHAIN_UNARY, table().cast[code][result]
    elif kind == "unary":
        made.kind = CHAIN_UNARY
        for i in range(table().n_unary):
            if table().unary[i].in_ == code and table().unary[i].out == result and strcmp(table().unary[i].name, wanted) == 0:
                made.unary = table().unary[i].loop
    else:
        made.kind, made.mode = CHAIN_BINARY, mode
        for i in range(table().n_binary):
            if table().binary[i].in_ == code and table().binary[i].out == result and strcmp(table().binary[i].name, wanted) == 0:
                made.binary = table().binary[i].loop
    if ((made.kind == CHAIN_UNARY and made.unary == NULL) or (made.kind == CHAIN_BINARY and made.binary == NULL)
            or (made.kind == CHAIN_ARITHMETIC and made.arithmetic == NULL)):
        raise NotImplementedError(f"no loop for {name} of dtype code {code}")
    return made


cdef class Program:
    """A chain that is ready to run, as mlcore_cpu.chain lays it out.

    A step is (kind, name, dtype code, that of the result, [to, five operands or -1], mode); places count inputs, outputs,
    slots and numbers. `unchanged` are the outputs that are the inputs of their places.
    """
    cdef Chain chain
    cdef readonly tuple unchanged

    def __init__(self, inputs, outputs, int slots, int widest, numbers, once, steps, tuple unchanged):
        cdef int code
        for code in (*inputs, *outputs):
            self.chain.itemsizes.push_back(ITEMSIZE[code])
        for code in numbers:
            self.chain.number_dtypes.push_back(code)
        self.chain.inputs, self.chain.outputs = len(inputs), len(outputs)
        self.chain.slots, self.chain.widest = slots, widest
        self.unchanged = unchanged
        for step in once:
            self.chain.once.push_back(chain_step(step))
        for step in steps:
            self.chain.steps.push_back(chain_step(step))
        if not self.chain.finish():
            raise NotImplementedError("too many values at a time")

    def __repr__(self):
        return (f"<chain of {self.chain.steps.size()} steps over {self.chain.slots} slots,"
                f" {self.chain.block} elements at a time>")


def chain_facts(list arrays, Py_ssize_t columns):
    """(dtype code of each column, the numbers of dimensions as a set of bits), or None where arrays are not alike."""
    cdef Py_ssize_t i, j, n = len(arrays) // columns
    cdef cnp.ndarray p, one
    cdef object item
    cdef int code
    cdef unsigned long long dims = 0
    cdef list codes = []
    for j in range(columns):
        code = -1
        for i in range(n):
            item = <object>PyList_GET_ITEM(arrays, j * n + i)
            if type(item) is not cnp.ndarray:
                return None
            one = <cnp.ndarray>item
            if i == 0:
                code = code_of(one)
                if code < 0:
                    return None
                codes.append(code)
            elif code_of(one) != code:
                return None
            if j == 0:
                dims |= <unsigned long long>1 << cnp.PyArray_NDIM(one)
                continue
            p = <cnp.ndarray>PyList_GET_ITEM(arrays, i)
            if cnp.PyArray_NDIM(one) != cnp.PyArray_NDIM(p) or memcmp(
                    cnp.PyArray_DIMS(one), cnp.PyArray_DIMS(p), cnp.PyArray_NDIM(p) * sizeof(cnp.npy_intp)) != 0:
                return None
    return tuple(codes), dims


cdef int run_programs(list programs, list numbers, list which, list arrays, Py_ssize_t columns, tuple codes, bint over, list made) except -1:
    """Runs a program on the arrays of each parameter: all on the first, or as `which` says.

    Where `over`, results go over the old values that nobody else holds, and `made` gets (place in arrays, new array) of
    the others; else all results are new.
    """
    cdef Py_ssize_t i, j, k, n = len(arrays) // columns, width = 2 * columns - 1
    cdef vector[void*] places
    cdef vector[ChainArrays] runs
    cdef vector[vector[double]] values
    cdef list keep = []
    cdef Program program
    cdef cnp.ndarray one
    cdef i64 total = 0
    cdef Status status
    places.resize(n * width)
    runs.resize(n)
    values.resize(len(programs))
    for k in range(len(programs)):
        for value in numbers[k]:
            values[k].push_back(value)
    for i in range(n):
        k = 0 if which is None else which[i]
        program = <Program>programs[k]
        runs[i].chain, runs[i].numbers, runs[i].of = &program.chain, values[k].data(), places.data() + i * width
        runs[i].n = cnp.PyArray_SIZE(<cnp.ndarray>PyList_GET_ITEM(arrays, i))
        total += runs[i].n
        for j in range(columns):  # results first: it is decided by who else holds the array
            if j == 1:
                continue
            k = j - 1 if j else 0
            if <bint>program.unchanged[k]:
                places[i * width + columns + k] = NULL
            elif over:
                places[i * width + columns + k] = target(arrays, j * n + i, codes[j], made)
            else:
                one = new_array(codes[j], cnp.PyArray_NDIM(<cnp.ndarray>PyList_GET_ITEM(arrays, i)),
                                cnp.PyArray_DIMS(<cnp.ndarray>PyList_GET_ITEM(arrays, i)), NULL)
                made.append((j * n + i, one))
                places[i * width + columns + k] = cnp.PyArray_DATA(one)
        for j in range(columns):
            places[i * width + j] = <void*>readable(arrays, j * n + i, codes[j], keep)
    if total < INLINE_BELOW:
        status = run_chains(runs.data(), n)
    elif over:
        with nogil:
            status = patient_chains(runs.data(), n)
    else:
        with nogil:
            status = run_chains(runs.data(), n)
    return check(status, <cnp.ndarray>PyList_GET_ITEM(arrays, 0))


cdef Status patient_chains(const ChainArrays* runs, i64 n) noexcept nogil:
    cdef Patient patient
    cdef Patient* held = &patient  # used: what is not, Cython leaves out, and its constructor with it
    return run_chains(runs, n) if held != NULL else OK


def chain_update(list programs, list numbers, list which, list arrays, Py_ssize_t columns, tuple codes):
    """Over the old values, as adam_update does: how many places in the list have new arrays."""
    cdef list made = []
    run_programs(programs, numbers, which, arrays, columns, codes, True, made)
    return take_replaced(arrays, made)


def chain_call(list programs, list numbers, list which, list arrays, Py_ssize_t columns, tuple codes):
    """The new parameters and states, all in new arrays but for those that did not change."""
    cdef list made = [], found = list(arrays)
    cdef Py_ssize_t n = len(arrays) // columns
    run_programs(programs, numbers, which, arrays, columns, codes, False, made)
    for at, one in made:
        found[at] = one
    return tuple(found[:n] + found[2 * n:])
