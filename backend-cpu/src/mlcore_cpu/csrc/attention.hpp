// Attention block by block: the matrix of scores never exists as a whole (Dao et al. 2022; the order of the backward
// pass after Dao 2023). Work is float or double; 16-bit floats are converted by the caller.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

inline constexpr i64 QUERY_BLOCK = 64, KEY_BLOCK = 128;
inline constexpr i64 SCORE_ROW = KEY_BLOCK + 16;  // a power of two would send a column to a few sets of the cache

// One head. Rows are dense, `_row` apart (in elements).
template <class T>
struct Head {
    i64 queries, keys, width, value_width;
    const T *q, *k, *v;
    i64 q_row, k_row, v_row;
    const unsigned char* allowed;  // a bool mask, or null
    const T* bias;                 // a mask to add, or null
    i64 mask_row, mask_col;
    bool causal;
    T scale;
    T* y;
    i64 y_row;
    T* lse;  // log of the sum of exp of each row's scores; -inf where nothing is allowed
    // backward
    const T* g;
    i64 g_row;
    T *gq, *gk, *gv;
    i64 gq_row, gk_row, gv_row;
};

template <class T>
struct AttentionLoops {
    // Values of packed keys (transposed) and values of one block, and of the backward pass's memory for `rows` queries.
    i64 (*key_size)(i64 width);
    i64 (*value_size)(i64 value_width);
    i64 (*grad_size)(i64 width, i64 value_width, i64 rows);
    void (*pack)(const Head<T>& h, i64 block, T* keys, T* values);
    // Queries [first, first + rows), rows <= QUERY_BLOCK; keys and values packed, scratch of QUERY_BLOCK * SCORE_ROW.
    void (*forward)(const Head<T>& h, i64 first, i64 rows, const T* keys, const T* values, T* scratch);
    // Queries [first, first + rows) with the key blocks [block, block + blocks): adds to gq (which the first block
    // sets to zero), and adds to or (fresh) sets gk and gv.
    void (*backward)(const Head<T>& h, i64 first, i64 rows, i64 block, i64 blocks, T* scratch);
    void (*add)(const T* x, i64 rows, i64 width, T* y, i64 y_row);  // y += x, x dense
};
struct AttentionTable {
    AttentionLoops<float> f32;
    AttentionLoops<double> f64;
};

// Views of one batch shape, broadcast with stride 0; the last stride of all but the mask is the item size. The mask is
// BOOL or of q's dtype, or null; lse is dense.
struct AttentionArrays {
    View q, k, v, mask, y, g, gq, gk, gv;
    bool masked, causal;
    double scale;
    void* lse;
};
Status run_attention(const AttentionArrays& a);
Status run_attention_grad(const AttentionArrays& a);

}  // namespace mlcore_cpu
