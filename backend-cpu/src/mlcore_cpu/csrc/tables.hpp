// What one instruction set offers: flat tables of loops over contiguous memory. Drivers (elementwise.cpp,
// reduce.cpp, ...) turn strided arrays and mixed dtypes into blocks for these loops.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

// y[i] = f(x[i])
using UnaryLoop = void (*)(const void* x, void* y, i64 n);
// mode 0: y[i] = f(a[i], b[i]) · 1: a is one value · 2: b is one value
using BinaryLoop = void (*)(const void* a, const void* b, void* y, i64 n, int mode);

struct UnaryEntry {
    const char* name;
    int in, out;
    UnaryLoop loop;
};
struct BinaryEntry {
    const char* name;
    int in, out;
    BinaryLoop loop;
};

// A reduction keeps an accumulator per output; `row` reduces n contiguous values into one, `column` reduces
// `rows` rows of `width` contiguous values into `width` of them. Both continue from what acc holds.
struct ReduceEntry {
    const char* name;
    int in, out, acc_bytes;  // of `finish`: out is the input's dtype, or BOOL
    void (*init)(void* acc, i64 n);
    void (*row)(const void* x, i64 n, void* acc);
    void (*column)(const void* x, i64 rows, i64 row_stride, i64 width, void* acc);
    void (*combine)(void* acc, const void* other, i64 n);  // acc[i] = acc[i] (+) other[i]
    void (*finish)(const void* acc, void* y, i64 n, double scale);
};

struct ArgEntry {  // argmax, argmin: the first best index; NaN is the best of all
    const char* name;
    int in;
    i64 (*row)(const void* x, i64 n);
    // rows r0..r0+rows of `width` columns; best and index continue
    void (*column)(const void* x, i64 r0, i64 rows, i64 row_stride, i64 width, void* best, i64* index);
};

// What most steps of a chain are (chain.hpp): y[i] = op(left(a[i]), right(b[i])), where y may be a or b. `left` and
// `right` name what is done to an operand before: nothing, or something with the numbers sa, and sb and tb.
using ChainLoop = void (*)(const void* a, const void* b, void* y, i64 n, const void* sa, const void* sb, const void* tb);
struct ChainEntry {
    const char *name, *left, *right;
    int dtype;
    ChainLoop loop;
};
struct ChainTable {
    const ChainEntry* entries;
    int n;
};

struct FusedTable;    // fused.hpp
struct GemmTable;   // gemm.hpp
struct ChannelTable;  // channels.hpp
struct PoolTable;     // pooling.hpp
struct RecurrentTable;  // recurrent.hpp
struct AttentionTable;  // attention.hpp
struct RmsTable;        // rms_norm.hpp
struct WinogradTable;   // winograd.hpp
struct DepthwiseTable;  // depthwise.hpp
struct IndexTable;      // indexing.hpp

struct Table {
    const char* isa;
    const UnaryEntry* unary;
    int n_unary;
    const BinaryEntry* binary;
    int n_binary;
    const ReduceEntry* reduce;
    int n_reduce;
    const ArgEntry* arg;
    int n_arg;
    UnaryLoop cast[N_REAL][N_REAL];
    void (*gather[5])(const char* src, i64 stride, char* dst, i64 n);  // by log2(itemsize)
    void (*fill[5])(const char* value, char* dst, i64 n);
    void (*select[5])(const unsigned char* c, const char* a, const char* b, char* y, i64 n);
    void (*stream)(const char* src, char* dst, i64 bytes);  // a copy that leaves no trace of dst in the caches
    // y[j * ld_y + i] = x[i * ld_x + j], by log2(itemsize)
    void (*transpose[4])(const void* x, i64 ld_x, void* y, i64 ld_y, i64 rows, i64 columns);
    const FusedTable* fused;
    const GemmTable* gemm;
    const ChannelTable* channels;
    const PoolTable* pooling;
    const RecurrentTable* recurrent;
    const AttentionTable* attention;
    const RmsTable* rms;
    const WinogradTable* winograd;
    const DepthwiseTable* depthwise;
    const IndexTable* index;
    const ChainTable* chain;
};

inline int log2_itemsize(int itemsize) { return __builtin_ctz(static_cast<unsigned>(itemsize)); }

const Table& table();                 // of the instruction set chosen for this processor
const char* choose_isa(const char* forced);  // forced may be null; returns the one taken, null if unusable

}  // namespace mlcore_cpu
