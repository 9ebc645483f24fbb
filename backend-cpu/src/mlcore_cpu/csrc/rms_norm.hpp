// Root-mean-square normalisation of rows. Work is float or double; 16-bit floats are converted by the caller.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

template <class T>
struct RmsLoops {
    void (*forward)(const T* x, const T* w, T* y, T* rstd, i64 rows, i64 n, double eps);
    void (*backward)(const T* g, const T* x, const T* w, const T* rstd, T* gx, T* gw, i64 rows, i64 n);  // gw is added to
};
struct RmsTable {
    RmsLoops<float> f32;
    RmsLoops<double> f64;
};

Status run_rms_norm(int dtype, const void* x, const void* w, void* y, void* rstd, i64 rows, i64 n, double eps);
Status run_rms_norm_grad(int dtype, const void* g, const void* x, const void* w, const void* rstd, void* gx, void* gw, i64 rows, i64 n);

}  // namespace mlcore_cpu
