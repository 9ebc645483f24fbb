// One-input elementwise loops: the generated table and the hand-written overrides.
#include "isa_tables.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

#define MLCORE_BINARY(...)
#define MLCORE_REDUCE(...)
#define MLCORE_UNARY(name, kind, out, how, ...)                                                  \
    struct name##_##kind {                                                                       \
        template <class T> static INL OUT_##out(T) f(T x) { return static_cast<OUT_##out(T)>(__VA_ARGS__); } \
    };
#include "../generated_ops.inc"
#include "../own_ops.inc"
#undef MLCORE_UNARY

#define RUNS_WIDE(name) template <> struct RunsWide<name##_FLOAT> { static constexpr bool value = true; };
RUNS_WIDE(exp) RUNS_WIDE(expm1) RUNS_WIDE(log) RUNS_WIDE(tanh) RUNS_WIDE(erf)
RUNS_WIDE(sigmoid) RUNS_WIDE(silu) RUNS_WIDE(gelu_none) RUNS_WIDE(gelu_tanh)
#undef RUNS_WIDE

#define ROW(D, name, kind, out, how) \
    {#name, D, OUTCODE_##out(D), &how##_loop<name##_##kind, ctype<D>, STORE_##out(D)>},
#define MLCORE_UNARY(name, kind, out, how, ...) FOR_##kind(ROW, name, kind, out, how)
const UnaryEntry entries[] = {
#include "../generated_ops.inc"
#include "../own_ops.inc"
};

}  // namespace

const UnaryEntry* unary_entries(int* count) {
    *count = sizeof(entries) / sizeof(entries[0]);
    return entries;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
