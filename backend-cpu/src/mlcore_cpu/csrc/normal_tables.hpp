// Piecewise polynomials behind gelu and its gradient: of the normal distribution's upper tail Q(a) = P(X > a), and of
// the slope Q(a) - a * density(a), for a in [0, 8). Registers of 16 floats look coefficients up in one instruction.
#pragma once

namespace mlcore_cpu {

struct HalfLine {  // near a = k / 4 the value is c[0][k] + r (c[1][k] + r (...)) with r = a - k / 4
    static constexpr int PIECES = 32, DEGREE = 5;
    alignas(64) float c[DEGREE + 1][PIECES];
};
struct NormalTables {
    HalfLine tail, slope;
    NormalTables();
};
extern const NormalTables normal_tables;

}  // namespace mlcore_cpu
