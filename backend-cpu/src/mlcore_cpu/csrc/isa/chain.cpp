// What most steps of a chain are made of. Two operations in one loop spare a pass over the L1 cache, and a result may
// lie over an operand: element i depends on element i of the operands alone, and is written after those are read.
#include "isa_tables.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

// -- what an operand may be, before it meets the other one; s and t are numbers -----------------------------------

#define SIDE(name, expression)                                            \
    struct name {                                                         \
        template <class T> static INL T f(T x, T s, T t) { return expression; } \
    };
SIDE(Same, x)
SIDE(Scaled, x * s)
SIDE(Square, x * x)
SIDE(SquareScaled, x * x * s)
SIDE(Root, sqrt(x))
SIDE(RootPlus, sqrt(x) + t)
SIDE(RootOverPlus, sqrt(x) / s + t)
#undef SIDE
struct Number {};

template <class Side, class T>
struct Reader {
    const T* x;
    T s, t;
    INL T operator()(i64 i) const {
        if constexpr (std::is_same<Side, Number>::value) return s;
        else return Side::template f<T>(x[i], s, t);
    }
};
template <class Side, class T>
INL Reader<Side, T> reader(const void* x, const void* s, const void* t) {
    const T* values = static_cast<const T*>(x);
    if constexpr (std::is_same<Side, Number>::value) return {values, *values, T(0)};
    else return {values, s ? *static_cast<const T*>(s) : T(0), t ? *static_cast<const T*>(t) : T(0)};
}

#define OPERATION(name, expression)                                            \
    struct name {                                                              \
        template <class T> static INL T f(T x1, T x2) { return expression; }   \
    };
OPERATION(add, x1 + x2)
OPERATION(subtract, x1 - x2)
OPERATION(multiply, x1 * x2)
OPERATION(divide, x1 / x2)
OPERATION(maximum, max(x1, x2))
OPERATION(minimum, min(x1, x2))
#undef OPERATION

template <class Op, class Left, class Right, class T>
void loop(const void* a, const void* b, void* yv, i64 n, const void* sa, const void* sb, const void* tb) {
    const auto left = reader<Left, T>(a, sa, nullptr);
    const auto right = reader<Right, T>(b, sb, tb);
    T* y = static_cast<T*>(yv);
#pragma GCC ivdep
    for (i64 i = 0; i < n; ++i) y[i] = Op::template f<T>(left(i), right(i));
}

#define ENTRY(op, left, right) \
    {#op, #left, #right, F32, &loop<op, left, right, float>}, {#op, #left, #right, F64, &loop<op, left, right, double>},
#define RIGHTS(op, left) \
    ENTRY(op, left, Same) ENTRY(op, left, Scaled) ENTRY(op, left, Square) ENTRY(op, left, SquareScaled) \
    ENTRY(op, left, Root) ENTRY(op, left, RootPlus) ENTRY(op, left, RootOverPlus)
#define ARITHMETIC(op)                                                                    \
    RIGHTS(op, Same) RIGHTS(op, Scaled) RIGHTS(op, Number)                                 \
    ENTRY(op, Same, Number) ENTRY(op, Scaled, Number) ENTRY(op, Square, Number) ENTRY(op, Root, Number) \
    ENTRY(op, Square, Same) ENTRY(op, Root, Same) ENTRY(op, Root, Root) ENTRY(op, Root, RootPlus)
#define CHOICE(op) ENTRY(op, Same, Same) ENTRY(op, Same, Number) ENTRY(op, Number, Same) ENTRY(op, Scaled, Same) ENTRY(op, Same, Scaled)

const ChainEntry entries[] = {ARITHMETIC(add) ARITHMETIC(subtract) ARITHMETIC(multiply) ARITHMETIC(divide) CHOICE(maximum) CHOICE(minimum)};

}  // namespace

const ChainTable* chain_table() {
    static const ChainTable chain{entries, sizeof(entries) / sizeof(entries[0])};
    return &chain;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
