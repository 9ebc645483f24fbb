// The transforms of Winograd's convolution, F(4x4, 3x3), for vectors of channels.
//
// The points are 0, +-3/4, +-3/2 and infinity, found by measurement against float64 (normal, positive and badly scaled
// inputs, 32 to 256 channels): the root mean square error is half of that of the usual 0, +-1, +-2, the largest error a
// quarter; other pairs of eighths were better for some inputs, none for all. The constants are exact but for those of
// the weights, and the points p and -p share half of their work. F(2x2, 3x3) has a third of the error, but saves 2.25
// of the multiplications, not 4, and moves twice the memory.
// Compiled with -ffp-contract=fast, like the products.
#include "../winograd.hpp"

#include "gemm_pack.hpp"
#include "isa_tables.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

constexpr float A = 0.75f, B = 1.5f, A2 = A * A, B2 = B * B, A3 = A2 * A, B3 = B2 * B, SUM = A2 + B2, PRODUCT = A2 * B2;
constexpr float G0 = 1.0f / PRODUCT, GA = 1.0f / (2.0f * A2 * (A2 - B2)), GB = 1.0f / (2.0f * B2 * (B2 - A2));
constexpr int LANES = Lanes<float>;
using Floats = Vec<float>;

// One dimension of each transform: V is a vector of channels, or one channel.
struct Input {  // of a polynomial with six coefficients: products of (x - p) without one of the points
    template <class V> INL static void run(const V* d, V* v) {
        const V e = d[4] - B2 * d[2], f = A * (d[3] - B2 * d[1]);
        const V g = d[4] - A2 * d[2], h = B * (d[3] - A2 * d[1]);
        v[0] = d[4] - SUM * d[2] + PRODUCT * d[0];
        v[1] = e + f;
        v[2] = e - f;
        v[3] = g + h;
        v[4] = g - h;
        v[5] = d[5] - SUM * d[3] + PRODUCT * d[1];
    }
};
struct Output {
    template <class V> INL static void run(const V* m, V* y) {
        const V e = m[1] + m[2], f = m[1] - m[2], g = m[3] + m[4], h = m[3] - m[4];
        y[0] = m[0] + (e + g);
        y[1] = A * f + B * h;
        y[2] = A2 * e + B2 * g;
        y[3] = (A3 * f + B3 * h) + m[5];
    }
};
struct Weights {  // the values of a polynomial at the points, over the products of their distances
    template <class V> INL static void run(const V* w, V* u) {
        const V e = GA * w[0] + (GA * A2) * w[2], f = (GA * A) * w[1];
        const V g = GB * w[0] + (GB * B2) * w[2], h = (GB * B) * w[1];
        u[0] = G0 * w[0];
        u[1] = e + f;
        u[2] = e - f;
        u[3] = g + h;
        u[4] = g - h;
        u[5] = w[2];
    }
};
struct Gradient {  // Output, transposed
    template <class V> INL static void run(const V* g, V* z) {
        const V e = g[0] + A2 * g[2], f = A * g[1] + A3 * g[3];
        const V h = g[0] + B2 * g[2], i = B * g[1] + B3 * g[3];
        z[0] = g[0];
        z[1] = e + f;
        z[2] = e - f;
        z[3] = h + i;
        z[4] = h - i;
        z[5] = g[3];
    }
};
struct Taps {  // Weights, transposed
    template <class V> INL static void run(const V* m, V* w) {
        const V e = m[1] + m[2], f = m[1] - m[2], g = m[3] + m[4], h = m[3] - m[4];
        w[0] = G0 * m[0] + (GA * e + GB * g);
        w[1] = (GA * A) * f + (GB * B) * h;
        w[2] = (GA * A2) * e + (GB * B2) * g + m[5];
    }
};

// Both dimensions: IN x IN values in, OUT x OUT out.
template <class V, class Step, int IN, int OUT, class In, class Out>
INL void two_ways(In&& in, Out&& out) {
    V half[OUT][IN];
#pragma GCC unroll 6
    for (int j = 0; j < IN; ++j) {
        V column[IN], done[OUT];
#pragma GCC unroll 6
        for (int i = 0; i < IN; ++i) column[i] = in(i * IN + j);
        Step::run(column, done);
#pragma GCC unroll 6
        for (int i = 0; i < OUT; ++i) half[i][j] = done[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < OUT; ++i) {
        V done[OUT];
        Step::run(half[i], done);
#pragma GCC unroll 6
        for (int j = 0; j < OUT; ++j) out(i * OUT + j, done[j]);
    }
}

template <class V> INL V get(const float* p) {
    if constexpr (std::is_same_v<V, float>) return *p;
    else return load(p);
}
INL void put(float* p, float v) { *p = v; }
INL void put(float* p, Floats v) { store<float>(p, v); }

// body(i, V) for vectors of channels, then for the channels that are left
template <class Body>
INL void over_channels(i64 n, Body&& body) {
    i64 i = 0;
    for (; i + LANES <= n; i += LANES) body(i, Floats{});
    for (; i < n; ++i) body(i, 0.0f);
}

void input(const float* const* pixels, i64 n, float* to, i64 step, i64 group_step) {
    static_assert(WINOGRAD_GROUP % LANES == 0);
    over_channels(n, [&](i64 c, auto kind) {
        using V = decltype(kind);
        float* at = to + c / WINOGRAD_GROUP * group_step + c % WINOGRAD_GROUP;
        two_ways<V, Input, 6, 6>([&](int i) { return get<V>(pixels[i] + c); }, [&](int i, V v) { put(at + i * step, v); });
    });
}

bool output(const float* from, i64 step, const float* bias, i64 n, float* const* pixels, i64 first) {
    Floats found = {};  // zero, or nan after an inf or a nan
    float rest = 0.0f;
    over_channels(n, [&](i64 c, auto kind) {
        using V = decltype(kind);
        const V base = bias ? get<V>(bias + c) : V{};
        V sum = {};
        two_ways<V, Output, 6, 4>([&](int i) { return get<V>(from + i * step + c); },
                                  [&](int i, V v) {
                                      v += base;
                                      sum += v * 0.0f;
                                      put(pixels[i] + first + c, v);
                                  });
        if constexpr (std::is_same_v<V, float>) rest += sum;
        else found += sum;
    });
    return add_up<float>(found) + rest == 0.0f;
}

void weights(const float* taps, i64 tap_step, i64 n, float* to, i64 step) {
    over_channels(n, [&](i64 c, auto kind) {
        using V = decltype(kind);
        two_ways<V, Weights, 3, 6>([&](int i) { return get<V>(taps + i * tap_step + c); }, [&](int i, V v) { put(to + i * step + c, v); });
    });
}

void gradient(const float* const* pixels, i64 first, i64 n, float* to, i64 step) {
    over_channels(n, [&](i64 c, auto kind) {
        using V = decltype(kind);
        two_ways<V, Gradient, 4, 6>([&](int i) { return get<V>(pixels[i] + first + c); }, [&](int i, V v) { put(to + i * step + c, v); });
    });
}

void taps(const float* from, i64 step, i64 n, float* to, i64 tap_step) {
    over_channels(n, [&](i64 c, auto kind) {
        using V = decltype(kind);
        two_ways<V, Taps, 6, 3>([&](int i) { return get<V>(from + i * step + c); }, [&](int i, V v) { put(to + i * tap_step + c, v); });
    });
}

const WinogradTable winograd{&input, &output, &weights, &gradient, &taps};

}  // namespace

const WinogradTable* winograd_table() { return &winograd; }

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
