// Which instruction set's tables serve this processor: the best it has, or the one that was asked for.
#include <cstring>

#include "tables.hpp"

namespace mlcore_cpu {

#ifdef MLCORE_ISAS_v2
namespace v2 { void make_table(Table&); }
#endif
#ifdef MLCORE_ISAS_v3
namespace v3 { void make_table(Table&); }
#endif
#ifdef MLCORE_ISAS_v4
namespace v4 { void make_table(Table&); }
#endif
#ifdef MLCORE_ISAS_generic
namespace generic { void make_table(Table&); }
#endif

namespace {

Table chosen;

struct Candidate {
    const char* name;
    bool (*usable)();
    void (*make)(Table&);
};

const Candidate candidates[] = {  // best first
#ifdef MLCORE_ISAS_v4
    {"v4",
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
     },
     v4::make_table},
#endif
#ifdef MLCORE_ISAS_v3
    {"v3",
     [] {
         return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                __builtin_cpu_supports("bmi2");
     },
     v3::make_table},
#endif
#ifdef MLCORE_ISAS_v2
    {"v2", [] { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }, v2::make_table},
#endif
#ifdef MLCORE_ISAS_generic
    {"generic", [] { return true; }, generic::make_table},
#endif
};

}  // namespace

const Table& table() { return chosen; }

const char* choose_isa(const char* forced) {
    for (const Candidate& c : candidates) {
        if (forced && std::strcmp(forced, c.name) != 0) continue;
        if (!c.usable()) continue;
        c.make(chosen);
        return chosen.isa;
    }
    return nullptr;
}

}  // namespace mlcore_cpu
