// Chains of elementwise operations, run block by block: every value but the first and the last stays in the L1 cache.
#pragma once
#include <vector>

#include "tables.hpp"

namespace mlcore_cpu {

enum class ChainKind : int { arithmetic, unary, binary, select, copy, fill };

// One step over a block. Operands and the result are places in a table of pointers: the inputs come first, then the
// outputs, the slots of the scratch memory, and the numbers.
struct ChainStep {
    ChainKind kind;
    int to, from[5];  // arithmetic: a, b, and the places of sa, sb, tb (see ChainLoop), -1 where there is none
    int mode;         // binary: which operand is a number (see BinaryLoop)
    int itemsize;     // select, copy, fill: of what is moved
    ChainLoop arithmetic;
    UnaryLoop unary;
    BinaryLoop binary;
};

struct Chain {
    std::vector<ChainStep> once;   // numbers that are needed as a whole block, put into their slots before the first
    std::vector<ChainStep> steps;  // for each block
    std::vector<int> itemsizes;    // of the inputs, then of the outputs
    std::vector<int> number_dtypes;
    int inputs = 0, outputs = 0, slots = 0;
    int widest = 4;  // bytes of the widest element in a slot

    bool finish();  // after everything is filled in; false: it needs more scratch memory than there is
    i64 block = 0;  // elements
};

// The arrays of one run of a chain: `of` has inputs and outputs in one list. An output may be the input of its place.
struct ChainArrays {
    const Chain* chain;
    const double* numbers;
    void* const* of;
    i64 n;
};
Status run_chains(const ChainArrays* arrays, i64 count);

}  // namespace mlcore_cpu
