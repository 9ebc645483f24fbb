// What the steps of a chain are made of where the generated loops will not do: a result may lie over an operand.
#include "isa_tables.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

#define OPERATION(name, expression)                                       \
    struct name {                                                         \
        template <class T> static INL T f(T x1, T x2) { return expression; } \
    };
OPERATION(add, x1 + x2)
OPERATION(subtract, x1 - x2)
OPERATION(multiply, x1 * x2)
OPERATION(divide, x1 / x2)
OPERATION(maximum, max(x1, x2))
OPERATION(minimum, min(x1, x2))
#undef OPERATION

// Element i of the result depends on element i of the operands alone, and is written after those are read.
template <class Op, class T>
void over(const void* av, const void* bv, void* yv, i64 n, int mode) {
    const T *a = static_cast<const T*>(av), *b = static_cast<const T*>(bv);
    T* y = static_cast<T*>(yv);
    if (mode == 0) {
#pragma GCC ivdep
        for (i64 i = 0; i < n; ++i) y[i] = Op::template f<T>(a[i], b[i]);
    } else if (mode == 1) {
        const T left = *a;
#pragma GCC ivdep
        for (i64 i = 0; i < n; ++i) y[i] = Op::template f<T>(left, b[i]);
    } else {
        const T right = *b;
#pragma GCC ivdep
        for (i64 i = 0; i < n; ++i) y[i] = Op::template f<T>(a[i], right);
    }
}

#define BOTH(name) {#name, F32, F32, &over<name, float>}, {#name, F64, F64, &over<name, double>},
const BinaryEntry entries[] = {BOTH(add) BOTH(subtract) BOTH(multiply) BOTH(divide) BOTH(maximum) BOTH(minimum)};
#undef BOTH

}  // namespace

const ChainTable* chain_table() {
    static const ChainTable chain{entries, sizeof(entries) / sizeof(entries[0])};
    return &chain;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
