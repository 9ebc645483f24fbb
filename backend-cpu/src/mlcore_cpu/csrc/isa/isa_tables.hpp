// The pieces of one instruction set's table, one file each; isa.cpp puts them together.
#pragma once
#include "../gemm.hpp"
#include "loops.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {

const UnaryEntry* unary_entries(int* count);
const BinaryEntry* binary_entries(int* count);
const ReduceEntry* reduce_entries(int* count);
const ArgEntry* arg_entries(int* count);
void fill_casts(Table& t);
void fill_transposes(Table& t);
const FusedTable* fused_table();
const GemmTable* gemm_table();
void add_dot_kernels(GemmTable& t);
const ChannelTable* channel_table();
const PoolTable* pool_table();
const RecurrentTable* recurrent_table();
const AttentionTable* attention_table();
const RmsTable* rms_table();
const WinogradTable* winograd_table();
const DepthwiseTable* depthwise_table();
const IndexTable* index_table();
const ChainTable* chain_table();

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
