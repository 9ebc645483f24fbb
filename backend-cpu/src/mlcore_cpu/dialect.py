"""C++ as a dialect of generated kernels: plain scalar code, in which one call does all the work-items.

A kernel whose work-items go their own ways runs as one work-item that takes every element. One whose groups work
together runs a group as fibers of one thread, which take turns at each barrier, and so does what a GPU does. This is
what tests compile the templates with, and what `mlcore kernel OP --backend cpu` prints; mlcore-cpu's own kernels are
those in csrc.

A kernel is ``extern "C" void NAME(array*..., const Words&)``: ctypes calls it with pointers.
"""

from __future__ import annotations

from mlcore.codegen.dialect import Dialect

_TYPES = {
    "bool": "unsigned char", "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long",
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned int", "uint64": "unsigned long long",
    "float16": "unsigned short", "bfloat16": "unsigned short", "float32": "float", "float64": "double",
}  # fmt: skip

_MATHS = (
    "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "floor", "ceil", "trunc", "rint", "fabs", "fmod", "pow", "atan2",
    "hypot", "copysign", "nextafter",
)  # fmt: skip

_PRELUDE = """\
static inline unsigned ml_bits(float x) { unsigned u; __builtin_memcpy(&u, &x, 4); return u; }
static inline float ml_float(unsigned u) { float x; __builtin_memcpy(&x, &u, 4); return x; }
static inline unsigned long long ml_bits(double x) { unsigned long long u; __builtin_memcpy(&u, &x, 8); return u; }
static inline double ml_double(unsigned long long u) { double x; __builtin_memcpy(&x, &u, 8); return x; }"""

_FIBERS = """\
#include <setjmp.h>
#include <stdlib.h>
#include <ucontext.h>
struct MlFibers {  // the work-items of a group
    ucontext_t start, main;
    jmp_buf item[64], back;
    void (*run)(const void*, int);
    const void* call;
    int now, left;
    char started[64], done[64];
};
static thread_local MlFibers* ml_fibers;
static inline void ml_barrier() {
    if (!_setjmp(ml_fibers->item[ml_fibers->now])) _longjmp(ml_fibers->back, 1);
}
static void ml_fiber() {
    ml_fibers->run(ml_fibers->call, ml_fibers->now);
    ml_fibers->done[ml_fibers->now] = 1;
    --ml_fibers->left;
    _longjmp(ml_fibers->back, 1);
}
static void ml_turn(MlFibers* f, int item, char* stack) {  // runs an item up to its next barrier
    f->now = item;
    if (f->done[item] || _setjmp(f->back)) return;
    if (f->started[item]) _longjmp(f->item[item], 1);
    f->started[item] = 1;
    getcontext(&f->start);
    f->start.uc_stack.ss_sp = stack;
    f->start.uc_stack.ss_size = 65536;
    makecontext(&f->start, ml_fiber, 0);
    swapcontext(&f->main, &f->start);
}
template <class F> static void ml_call(const void* f, int item) { (*(const F*)f)(item); }
template <class F> static void ml_group(int size, const F& kernel) {
    MlFibers* f = (MlFibers*)calloc(1, sizeof(MlFibers) + size * 65536l);
    f->run = ml_call<F>;
    f->call = &kernel;
    f->left = size;
    ml_fibers = f;
    while (f->left)
        for (int i = 0; i < size; ++i) ml_turn(f, i, (char*)(f + 1) + i * 65536l);
    free(f);
}"""

DIALECT = Dialect(
    "C++",
    _TYPES,
    launch='extern "C" void {name}({params})\n{{\n{body}\n}}',
    group_launch=(
        'extern "C" void {name}({params})\n{{\n'
        "ml_group({group}, [&](int ml_item) {{\n{body}\n}});\n}}"
    ),
    buffer="{const}{type}* {name}",
    words="const {type}& {name}",
    global_id="0",
    global_size="1",
    local_id="ml_item",
    group_id="0",
    groups="1",
    barrier="ml_barrier();",
    local="static thread_local {type} {name}[{size}];",
    functions={
        **{f"{name}:float": f"__builtin_{name}f" for name in _MATHS},
        **{f"{name}:double": f"__builtin_{name}" for name in _MATHS},
        **{name: f"__builtin_{name}" for name in ("isnan", "isinf", "signbit")},
    },
    as_bits={
        "float32": "ml_bits({v})", "float64": "ml_bits({v})", "uint32": "ml_float({v})", "uint64": "ml_double({v})",
    },
    wide="LL",
    prelude=_PRELUDE,
    group_prelude=_FIBERS,
    suffix=".cpp",
    group=64,
    tile=8,
)  # fmt: skip

FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-fwrapv", "-ffp-contract=off", "-w")
"""For g++: signed integers wrap around, and products and sums round one by one, as they do in NumPy."""
