// Fused kernels of this instruction set.
#include "isa_tables.hpp"
namespace mlcore_cpu { namespace MLCORE_ISA { const FusedTable* fused_table() { return nullptr; } } }
