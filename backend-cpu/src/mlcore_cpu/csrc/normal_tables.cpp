#include "normal_tables.hpp"

#include <cmath>

namespace mlcore_cpu {
namespace {

// The polynomial through f at the Chebyshev points of [-1/8, 1/8] around each centre.
template <class F>
void fill(HalfLine& table, F f) {
    constexpr int N = HalfLine::DEGREE + 1;
    for (int k = 0; k < HalfLine::PIECES; ++k) {
        double at[N], divided[N], c[N] = {};
        for (int i = 0; i < N; ++i) {
            at[i] = 0.125 * std::cos(3.14159265358979323846 * (i + 0.5) / N);
            divided[i] = f(std::fabs(k * 0.25 + at[i]), k * 0.25 + at[i] < 0);
        }
        for (int step = 1; step < N; ++step)
            for (int i = N - 1; i >= step; --i) divided[i] = (divided[i] - divided[i - 1]) / (at[i] - at[i - step]);
        for (int i = N - 1; i >= 0; --i) {  // Newton's form, multiplied out: c = c * (r - at[i]) + divided[i]
            for (int j = N - 1; j > 0; --j) c[j] = c[j - 1] - c[j] * at[i];
            c[0] = divided[i] - c[0] * at[i];
        }
        for (int i = 0; i < N; ++i) table.c[i][k] = static_cast<float>(c[i]);
    }
}

double tail_of(double a) { return 0.5 * std::erfc(a * 0.70710678118654752440); }
double density_of(double a) { return 0.39894228040143267794 * std::exp(-0.5 * a * a); }

}  // namespace

// Left of 0 (half of the first piece) both functions go on smoothly as one minus their mirror image.
NormalTables::NormalTables() {
    fill(tail, [](double a, bool left) { return left ? 1.0 - tail_of(a) : tail_of(a); });
    for (auto& c : tail.c) c[HalfLine::PIECES - 1] = 0.0f;  // it meets arguments of any size
    fill(slope, [](double a, bool left) {
        const double s = tail_of(a) - a * density_of(a);
        return left ? 1.0 - s : s;
    });
}

const NormalTables normal_tables;

}  // namespace mlcore_cpu
