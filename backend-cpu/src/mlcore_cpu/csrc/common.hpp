// Types shared by every part of the CPU backend: dtype codes, strided views, status codes.
// Nothing here knows Python.
#pragma once
#include <cstddef>
#include <cstdint>

namespace mlcore_cpu {

using i64 = std::int64_t;

// Same order as mlcore.dtypes (DType.index), so that a code means one thing everywhere.
enum DType : int {
    BOOL, I8, I16, I32, I64, U8, U16, U32, U64, F16, BF16, F32, F64, C64, C128, N_DTYPES
};
inline constexpr int N_REAL = 13;  // dtypes our own kernels handle; complex numbers go through NumPy

inline constexpr int ITEMSIZE[N_DTYPES] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8, 8, 16};
inline constexpr int MAX_NDIM = 64;

// What a kernel driver returns. INTERRUPTED: the poll hook has an exception pending.
// OUT_OF_RANGE: an index names nothing; only drivers that say so return it.
enum Status : int { OK = 0, INTERRUPTED = 1, NO_MEMORY = 2, UNSUPPORTED = 3, OUT_OF_RANGE = 4 };

// A strided array that somebody else owns. Strides are in bytes and may be zero or negative.
struct View {
    char* data;
    int dtype;
    int ndim;
    i64 shape[MAX_NDIM];
    i64 strides[MAX_NDIM];

    i64 size() const {
        i64 n = 1;
        for (int d = 0; d < ndim; ++d) n *= shape[d];
        return n;
    }
    bool contiguous() const {  // C order, ignoring the strides of axes of length one
        i64 expect = ITEMSIZE[dtype];
        for (int d = ndim - 1; d >= 0; --d) {
            if (shape[d] != 1 && strides[d] != expect) return false;
            expect *= shape[d];
        }
        return true;
    }
};

inline constexpr i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }

}  // namespace mlcore_cpu
