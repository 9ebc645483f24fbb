// Fused kernels: whole composites in one pass over memory. Work is float or double; 16-bit floats are
// converted by the caller. All arrays are dense and C-ordered unless a layout says otherwise.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

struct AdamParams {
    double lr, beta1, beta2, eps, weight_decay;
    bool decoupled;
    i64 step;
    double rate, root;  // worked out from these: lr / (1 - beta1^step), 1 / sqrt(1 - beta2^step)
};
struct SgdParams {
    double lr, momentum, dampening, weight_decay;
    bool nesterov, first;
};

// Loops of one instruction set and one type, over rows of `n` values or plain ranges.
template <class T>
struct FusedLoops {
    void (*softmax)(const T* x, T* y, i64 rows, i64 n);
    void (*log_softmax)(const T* x, T* y, i64 rows, i64 n);
    void (*softmax_grad)(const T* g, const T* y, T* gx, i64 rows, i64 n);
    void (*log_softmax_grad)(const T* g, const T* y, T* gx, i64 rows, i64 n);
    void (*logsumexp)(const T* x, T* y, i64 rows, i64 n);
    void (*cross_entropy)(const T* x, const i64* target, T* loss, T* lse, i64 rows, i64 n);
    void (*cross_entropy_grad)(const T* g, const T* x, const i64* target, const T* lse, T* gx, i64 rows, i64 n);
    void (*layer_norm)(const T* x, const T* w, const T* b, T* y, T* mean, T* rstd, i64 rows, i64 n, double eps);
    // gw and gb: sums over these rows, added to
    void (*layer_norm_grad)(const T* g, const T* x, const T* w, const T* mean, const T* rstd, T* gx, T* gw, T* gb, i64 rows, i64 n);
    // a result may be the array it replaces
    void (*adam)(const T* p, const T* g, const T* m, const T* v, T* p2, T* m2, T* v2, i64 n, const AdamParams& a);
    void (*sgd)(const T* p, const T* g, const T* b, T* p2, T* b2, i64 n, const SgdParams& a);
    void (*dropout)(const T* x, T* y, i64 n, std::uint32_t k0, std::uint32_t k1, std::uint64_t counter, std::uint32_t threshold, T scale);
    void (*accumulate)(T* y, const T* x, i64 n);  // y += x
    double (*squared_error)(const T* x, const T* y, i64 n);
    void (*squared_error_grad)(const T* x, const T* y, T* gx, i64 n, T scale);
};

struct FusedTable {
    FusedLoops<float> f32;
    FusedLoops<double> f64;
    void (*threefry)(std::uint32_t k0, std::uint32_t k1, std::uint64_t counter, std::uint32_t* y, i64 n);
};

// Drivers. `dtype` is F32 or F64; pointers are to that type.
enum class RowOp { softmax, log_softmax, logsumexp };
Status run_rows(RowOp op, int dtype, const void* x, void* y, i64 rows, i64 n);
Status run_rows_grad(RowOp op, int dtype, const void* g, const void* y, void* gx, i64 rows, i64 n);
Status run_cross_entropy(int dtype, const void* x, const i64* target, void* loss, void* lse, i64 rows, i64 n);
Status run_cross_entropy_grad(int dtype, const void* g, const void* x, const i64* target, const void* lse, void* gx, i64 rows, i64 n);
Status run_layer_norm(int dtype, const void* x, const void* w, const void* b, void* y, void* mean, void* rstd, i64 rows, i64 n, double eps);
Status run_layer_norm_grad(int dtype, const void* g, const void* x, const void* w, const void* mean, const void* rstd, void* gx, void* gw, void* gb, i64 rows, i64 n);
Status run_dropout(int dtype, const void* x, void* y, i64 n, std::uint32_t k0, std::uint32_t k1, std::uint64_t counter, double p);
// y = scale * the sum of the squared differences, and its gradient g * 2 * scale * (x - y)
Status run_squared_error(int dtype, const void* x, const void* target, void* y, i64 n, double scale);
Status run_squared_error_grad(int dtype, const void* g, const void* x, const void* target, void* gx, i64 n, double scale);
Status run_threefry(std::uint32_t k0, std::uint32_t k1, std::uint64_t counter, std::uint32_t* y, i64 n);

// One array of an optimizer step; the tensors of all parameters go in one call. A result may be the array that it
// replaces; the call is then not to be interrupted (pool.hpp's Patient).
struct StepArrays {
    const void *p, *g, *m, *v;
    void *p2, *m2, *v2;
    i64 n;
};
Status run_adam(int dtype, const StepArrays* arrays, i64 count, const AdamParams& a);
Status run_sgd(int dtype, const StepArrays* arrays, i64 count, const SgdParams& a);  // m is the buffer, or null

}  // namespace mlcore_cpu
