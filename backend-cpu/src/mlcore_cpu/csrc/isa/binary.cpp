// Two-input elementwise loops: the generated table and the hand-written overrides.
#include "isa_tables.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

#define MLCORE_UNARY(...)
#define MLCORE_REDUCE(...)
#define MLCORE_BINARY(name, kind, out, ...)                                                                \
    struct name##_##kind {                                                                                 \
        template <class T> static INL OUT_##out(T) f(T x1, T x2) { return static_cast<OUT_##out(T)>(__VA_ARGS__); } \
    };
#include "../generated_ops.inc"
#include "../own_ops.inc"
#undef MLCORE_BINARY

#define RUNS_WIDE(name) template <> struct RunsWide<name##_FLOAT> { static constexpr bool value = true; };
RUNS_WIDE(silu_grad) RUNS_WIDE(gelu_grad_none) RUNS_WIDE(gelu_grad_tanh)
#undef RUNS_WIDE

#define ROW(D, name, kind, out) {#name, D, OUTCODE_##out(D), &binary_loop<name##_##kind, ctype<D>, STORE_##out(D)>},
#define MLCORE_BINARY(name, kind, out, ...) FOR_##kind(ROW, name, kind, out)
const BinaryEntry entries[] = {
#include "../generated_ops.inc"
#include "../own_ops.inc"
};

}  // namespace

const BinaryEntry* binary_entries(int* count) {
    *count = sizeof(entries) / sizeof(entries[0]);
    return entries;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
