// Puts the table of this instruction set together.
#include "isa_tables.hpp"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

namespace mlcore_cpu {
namespace MLCORE_ISA {

void make_table(Table& t) {
    t.isa = STRING(MLCORE_ISA);
    t.unary = unary_entries(&t.n_unary);
    t.binary = binary_entries(&t.n_binary);
    t.reduce = reduce_entries(&t.n_reduce);
    t.arg = arg_entries(&t.n_arg);
    fill_casts(t);
    fill_transposes(t);
    t.fused = fused_table();
    t.gemm = gemm_table();
    t.channels = channel_table();
    t.pooling = pool_table();
    t.recurrent = recurrent_table();
    t.attention = attention_table();
    t.rms = rms_table();
    t.winograd = winograd_table();
    t.depthwise = depthwise_table();
    t.index = index_table();
    t.chain = chain_table();
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
