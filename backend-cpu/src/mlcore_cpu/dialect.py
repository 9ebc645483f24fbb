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
#include <stdlib.h>
#include <ucontext.h>
static inline unsigned ml_bits(float x) { unsigned u; __builtin_memcpy(&u, &x, 4); return u; }
static inline float ml_float(unsigned u) { float x; __builtin_memcpy(&x, &u, 4); return x; }
static inline unsigned long long ml_bits(double x) { unsigned long long u; __builtin_memcpy(&u, &x, 8); return u; }
static inline double ml_double(unsigned long long u) { double x; __builtin_memcpy(&x, &u, 8); return x; }
struct MlFibers {  // the work-items of a group
    ucontext_t main, item[64];
    void (*run)(const void*, int);
    const void* call;
    int now;
    bool done[64];
};
static thread_local MlFibers* ml_fibers;
static inline void ml_barrier() { swapcontext(&ml_fibers->item[ml_fibers->now], &ml_fibers->main); }
static void ml_fiber() {
    ml_fibers->run(ml_fibers->call, ml_fibers->now);
    ml_fibers->done[ml_fibers->now] = true;
}
template <class F> static void ml_call(const void* f, int item) { (*(const F*)f)(item); }
template <class F> static void ml_group(int size, const F& kernel) {
    const size_t stack = 65536;
    MlFibers* f = (MlFibers*)malloc(sizeof(MlFibers) + size * stack);
    f->run = ml_call<F>;
    f->call = &kernel;
    ml_fibers = f;
    for (int i = 0; i < size; ++i) {
        getcontext(&f->item[i]);
        f->item[i].uc_stack.ss_sp = (char*)(f + 1) + i * stack;
        f->item[i].uc_stack.ss_size = stack;
        f->item[i].uc_link = &f->main;
        makecontext(&f->item[i], ml_fiber, 0);
        f->done[i] = false;
    }
    for (bool again = true; again;) {
        again = false;
        for (int i = 0; i < size; ++i) {
            if (f->done[i]) continue;
            f->now = i;
            swapcontext(&f->main, &f->item[i]);
            again = again || !f->done[i];
        }
    }
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
    suffix=".cpp",
    group=16,
    tile=4,
)  # fmt: skip

FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-fwrapv", "-ffp-contract=off", "-w")
"""For g++: signed integers wrap around, and products and sums round one by one, as they do in NumPy."""
