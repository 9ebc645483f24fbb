// Sums, maxima and products of contiguous rows: fixed lanes and block lengths, so a row has one result.
#pragma once
#include "loops.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

template <class T> constexpr int LANES = 256 / sizeof(T);
constexpr int RUN = 16;  // additions per lane before the double accumulator takes over

// Sum over i of f(i), i in [0, n).
template <class T, class F>
INL double sum_of(i64 n, F f) {
    constexpr int L = LANES<T>;
    double total = 0;
    for (i64 start = 0; start < n; start += RUN * L) {
        const i64 stop = start + RUN * L < n ? start + RUN * L : n;
        T lane[L];
        for (int j = 0; j < L; ++j) lane[j] = T(0);
        i64 i = start;
        for (; i + L <= stop; i += L)
            for (int j = 0; j < L; ++j) lane[j] += f(i + j);
        for (int j = 0; i < stop; ++i, ++j) lane[j] += f(i);
        for (int half = L / 2; half > 0; half /= 2)
            for (int j = 0; j < half; ++j) lane[j] += lane[j + half];
        total += static_cast<double>(lane[0]);
    }
    return total;
}

template <class T>
INL T max_of(const T* __restrict x, i64 n) {  // NaN wins; -inf for n = 0
    constexpr int L = LANES<T>;
    T lane[L];
    for (int j = 0; j < L; ++j) lane[j] = -std::numeric_limits<T>::infinity();
    i64 i = 0;
    for (; i + L <= n; i += L)
        for (int j = 0; j < L; ++j) lane[j] = max(lane[j], x[i + j]);
    for (int j = 0; i < n; ++i, ++j) lane[j] = max(lane[j], x[i]);
    for (int half = L / 2; half > 0; half /= 2)
        for (int j = 0; j < half; ++j) lane[j] = max(lane[j], lane[j + half]);
    return lane[0];
}

template <class T> INL T finite_or_zero(T x) { return isfinite(x) ? x : T(0); }

}  // namespace
}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
