// Winograd's convolution on the pool: tiles are transformed, multiplied as 36 matrices, and transformed back.
//
// Blocks depend on shapes only, sums have a fixed order. Products are added up over 32 channels (or tiles) at a time:
// nearly all of the error comes from the sums, and this halves it.
#include "winograd.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "alloc.hpp"
#include "gemm.hpp"
#include "pool.hpp"
#include "tables.hpp"

namespace mlcore_cpu {
namespace {

constexpr i64 POINTS = 36, GROUP = WINOGRAD_GROUP, TAPS = 9;
constexpr i64 FLOAT = static_cast<i64>(sizeof(float));

// The distance of the 36 matrices of some size: an odd number of cache lines, so that a transform, which touches all
// of them, does not find them in one set of the cache.
i64 apart(i64 floats) { return (ceil_div(floats, 16) | 1) * 16; }

std::atomic<WinogradUse> use{WinogradUse::where_it_pays};

const GemmKernel& gemm() { return *table().gemm->of[F32]; }
const WinogradTable& loops() { return *table().winograd; }

// A convolution in tiles: what it reads (n, h, w, c), what it makes (n, oh, ow, o).
struct Tiles {
    i64 n, h, w, c, oh, ow, o, top, left;
    i64 down, across, count, groups, panel, panels;

    Tiles(const ConvShape& s, bool backwards)
        : n(s.n), h(s.in[0]), w(s.in[1]), c(s.c), oh(s.out[0]), ow(s.out[1]), o(s.o), top(s.pad_lo[0]), left(s.pad_lo[1]) {
        if (backwards) {  // the gradient is read, with the kernel turned around
            std::swap(h, oh), std::swap(w, ow), std::swap(c, o);
            top = 2 - top, left = 2 - left;
        }
        down = ceil_div(oh, 4), across = ceil_div(ow, 4), count = n * down * across;
        groups = ceil_div(c, GROUP), panel = gemm().columns, panels = ceil_div(o, panel);
    }
    i64 width(i64 p) const { return std::min(panel, o - p * panel); }

    // Calls f(pixel, inside, index): the SIZE x SIZE pixels of a tile of an array (n, rows, columns) from a corner.
    template <int SIZE, class F>
    void pixels(i64 tile, i64 rows, i64 columns, i64 dy, i64 dx, F&& f) const {
        const i64 image = tile / (down * across), y0 = tile / across % down * 4 - dy, x0 = tile % across * 4 - dx;
        for (i64 i = 0; i < SIZE; ++i)
            for (i64 j = 0; j < SIZE; ++j) {
                const i64 y = y0 + i, x = x0 + j;
                const bool inside = y >= 0 && y < rows && x >= 0 && x < columns;
                f(static_cast<int>(i * SIZE + j), inside, (image * rows + y) * columns + x);
            }
    }
};

// Tiles [first, first + count) of x into 36 times (groups, rows, GROUP) from row `row`; `zeros` stands for the padding.
void transform(const Tiles& t, const float* x, const float* zeros, i64 first, i64 count, float* to, i64 row, i64 rows) {
    for (i64 i = 0; i < count; ++i) {
        const float* pixels[36];
        t.pixels<6>(first + i, t.h, t.w, t.top, t.left,
                    [&](int k, bool inside, i64 at) { pixels[k] = inside ? x + at * t.c : zeros; });
        loops().input(pixels, t.c, to + (row + i) * GROUP, apart(t.groups * rows * GROUP), rows * GROUP);
    }
}

// The weights of input channels [first, first + count) and one panel of output channels: (36, step apart)(count, panel).
void transform_weights(const Tiles& t, const float* w, bool backwards, i64 p, i64 first, i64 count, float* to, i64 step) {
    constexpr i64 MOST = 32, EACH = 8;
    alignas(64) float taps[EACH * TAPS * MOST];
    const auto transpose = table().transpose[2];
    const i64 width = t.width(p), P = t.panel;
    if (width < P) std::memset(taps, 0, sizeof taps);
    for (i64 k = 0; k < count; k += EACH) {
        const i64 some = std::min(EACH, count - k);
        if (backwards) {
            for (i64 i = 0; i < some; ++i)
                transpose(w + ((first + k + i) * t.o + p * P) * TAPS, TAPS, taps + i * TAPS * P, P, width, TAPS);
        } else {
            transpose(w + (p * P * t.c + first + k) * TAPS, t.c * TAPS, taps, P, width, some * TAPS);
        }
        for (i64 i = 0; i < some; ++i) {
            const float* from = taps + i * TAPS * P;
            loops().weights(backwards ? from + (TAPS - 1) * P : from, backwards ? -P : P, P, to + (k + i) * P, step);
        }
    }
}

// c (m, columns) = [c +] a (m, k) @ b (k, columns): rows of a are GROUP apart, b and c are panels. a has few rows and
// is read where it lies, so that no scratch memory is needed.
void multiply(i64 m, i64 columns, i64 k, const float* a, i64 a_rs, i64 a_cs, const float* b, float* c, bool add) {
    const i64 P = gemm().columns;
    GemmBlock g{};
    g.m = m, g.n = columns, g.k = k;
    g.a = reinterpret_cast<const char*>(a), g.a_rs = a_rs, g.a_cs = a_cs;
    g.packed_b = reinterpret_cast<const char*>(b);
    g.c = reinterpret_cast<char*>(c), g.c_rs = P;
    if (add) g.init = g.c, g.init_rs = P;
    gemm().block(g);
}

// Tiles [first, first + count) of one panel of output channels, from the products, 36 times (rows, panel). False: not finite.
bool finish(const Tiles& t, const float* products, i64 rows, i64 p, i64 first, i64 count, const float* bias, float* y, float* outside) {
    bool finite = true;
    for (i64 i = 0; i < count; ++i) {
        float* pixels[16];
        t.pixels<4>(first + i, t.oh, t.ow, 0, 0, [&](int k, bool inside, i64 at) { pixels[k] = inside ? y + at * t.o : outside; });
        finite &= loops().output(products + i * t.panel, apart(rows * t.panel), bias ? bias + p * t.panel : nullptr, t.width(p), pixels, p * t.panel);
    }
    return finite;
}

struct Flags {
    std::atomic<bool> no_memory{false}, not_finite{false};
    bool any() const { return no_memory || not_finite; }
    Status status(Status of_loop) const {
        return no_memory ? NO_MEMORY : of_loop != OK ? of_loop : not_finite ? UNSUPPORTED : OK;
    }
};

// Small weights: all of them are transformed first; a task then takes some tiles from input to output.
Status by_tiles(const Tiles& t, const float* x, const float* w, bool backwards, const float* bias, const float* zeros, float* y) {
    const i64 each = t.c <= 64 ? 48 : 36, P = t.panel, step = apart(t.c * P), panel_size = POINTS * step;
    Scratch weights(t.panels * panel_size * FLOAT);
    if (weights.failed()) return NO_MEMORY;
    float* u = weights.get<float>();
    Status status = parallel_for(t.panels * t.groups, [&](i64 task) {
        const i64 p = task / t.groups, k = task % t.groups * GROUP;
        transform_weights(t, w, backwards, p, k, std::min(GROUP, t.c - k), u + p * panel_size + k * P, step);
    });
    if (status != OK) return status;
    Flags flags;
    status = parallel_for(ceil_div(t.count, each), [&](i64 block) {
        if (flags.any()) return;
        const i64 first = block * each, count = std::min(each, t.count - first), size = each * GROUP;
        const i64 v_step = apart(t.groups * size), m_step = apart(each * P);
        Scratch inputs(POINTS * v_step * FLOAT), products(POINTS * m_step * FLOAT), outside(t.o * FLOAT);
        if (inputs.failed() || products.failed() || outside.failed()) {
            flags.no_memory = true;
            return;
        }
        float *v = inputs.get<float>(), *m = products.get<float>();
        transform(t, x, zeros, first, count, v, 0, each);
        for (i64 p = 0; p < t.panels; ++p) {
            for (i64 k = 0; k < POINTS; ++k)
                for (i64 g = 0; g < t.groups; ++g)
                    multiply(count, t.width(p), std::min(GROUP, t.c - g * GROUP), v + k * v_step + g * size, GROUP, 1,
                             u + p * panel_size + k * step + g * GROUP * P, m + k * m_step, g > 0);
            if (!finish(t, m, each, p, first, count, bias, y, outside.get<float>())) flags.not_finite = true;
        }
    });
    return flags.status(status);
}

// Large weights: the tiles are transformed first; a task then takes a panel of output channels over many tiles, and
// transforms its weights, some input channels at a time, where they are multiplied.
Status by_panels(const Tiles& t, const float* x, const float* w, bool backwards, const float* bias, const float* zeros, float* y) {
    constexpr i64 MOST = 128, SOME = 8, BYTES = 10 << 20;
    const i64 each = ceil_div(t.count, ceil_div(t.count, MOST)), P = t.panel, size = each * GROUP, v_step = apart(t.groups * size), block_size = POINTS * v_step;
    const i64 blocks = ceil_div(t.count, each), at_once = std::min(blocks, std::max<i64>(1, BYTES / (block_size * FLOAT)));
    Scratch inputs(at_once * block_size * FLOAT);
    if (inputs.failed()) return NO_MEMORY;
    float* v = inputs.get<float>();
    Flags flags;
    for (i64 block0 = 0; block0 < blocks; block0 += at_once) {
        const i64 now = std::min(at_once, blocks - block0), pieces = ceil_div(each, SOME);
        Status status = parallel_for(now * pieces, [&](i64 task) {
            const i64 block = task / pieces, row = task % pieces * SOME, first = (block0 + block) * each + row;
            transform(t, x, zeros, first, std::min({SOME, each - row, t.count - first}), v + block * block_size, row, each);
        });
        if (status != OK) return status;
        status = parallel_for(now * t.panels, [&](i64 task) {
            if (flags.any()) return;
            const i64 p = task / now, block = task % now, first = (block0 + block) * each, count = std::min(each, t.count - first);
            const i64 u_step = apart(GROUP * P), m_step = apart(each * P);
            Scratch weights(POINTS * u_step * FLOAT), products(POINTS * m_step * FLOAT), outside(t.o * FLOAT);
            if (weights.failed() || products.failed() || outside.failed()) {
                flags.no_memory = true;
                return;
            }
            float *u = weights.get<float>(), *m = products.get<float>();
            for (i64 g = 0; g < t.groups; ++g) {
                const i64 channels = std::min(GROUP, t.c - g * GROUP);
                transform_weights(t, w, backwards, p, g * GROUP, channels, u, u_step);
                for (i64 k = 0; k < POINTS; ++k)
                    multiply(count, t.width(p), channels, v + block * block_size + k * v_step + g * size, GROUP, 1,
                             u + k * u_step, m + k * m_step, g > 0);
            }
            if (!finish(t, m, each, p, first, count, bias, y, outside.get<float>())) flags.not_finite = true;
        });
        status = flags.status(status);
        if (status != OK) return status;
    }
    return OK;
}

// Tiles [first, first + count) of the gradient of the output into 36 times (panels, rows, panel).
void transform_gradient(const Tiles& t, const float* g, const float* zeros, i64 first, i64 count, float* to, i64 row, i64 rows) {
    for (i64 i = 0; i < count; ++i) {
        const float* pixels[16];
        t.pixels<4>(first + i, t.oh, t.ow, 0, 0, [&](int k, bool inside, i64 at) { pixels[k] = inside ? g + at * t.o : zeros; });
        for (i64 p = 0; p < t.panels; ++p)
            loops().gradient(pixels, p * t.panel, t.width(p), to + (p * rows + row + i) * t.panel, apart(t.panels * rows * t.panel));
    }
}

// The 36 products of one group of input channels and one panel of output channels, summed over `count` transformed
// tiles: to 36 times (GROUP, panel).
void accumulate(const Tiles& t, const float* v, const float* z, i64 g, i64 p, i64 count, i64 rows, float* to, bool add) {
    constexpr i64 SUM = 32;
    const i64 v_step = apart(t.groups * rows * GROUP), z_step = apart(t.panels * rows * t.panel), step = apart(GROUP * t.panel);
    for (i64 k = 0; k < POINTS; ++k)
        for (i64 i = 0; i < count; i += SUM)
            multiply(std::min(GROUP, t.c - g * GROUP), t.width(p), std::min(SUM, count - i), v + k * v_step + (g * rows + i) * GROUP, 1,
                     GROUP, z + k * z_step + (p * rows + i) * t.panel, to + k * step, add || i > 0);
}

// Back from `sums`, 36 times (GROUP, panel), to gw (O, C, 3, 3).
void finish_weights(const Tiles& t, const float* sums, i64 g, i64 p, float* gw, bool add) {
    constexpr i64 MOST = 32, EACH = 8;
    alignas(64) float taps[EACH * TAPS * MOST], turned[MOST * EACH * TAPS];
    const i64 channels = std::min(GROUP, t.c - g * GROUP), width = t.width(p), P = t.panel;
    for (i64 i = 0; i < channels; i += EACH) {
        const i64 some = std::min(EACH, channels - i);
        for (i64 j = 0; j < some; ++j) loops().taps(sums + (i + j) * P, apart(GROUP * P), width, taps + j * TAPS * P, P);
        float* to = gw + (p * P * t.c + g * GROUP + i) * TAPS;
        if (!add) {
            table().transpose[2](taps, P, to, t.c * TAPS, some * TAPS, width);
            continue;
        }
        table().transpose[2](taps, P, turned, some * TAPS, some * TAPS, width);
        for (i64 o = 0; o < width; ++o)
            for (i64 j = 0; j < some * TAPS; ++j) to[o * t.c * TAPS + j] += turned[o * some * TAPS + j];
    }
}

// gw = the sum of the parts, in their order
Status add_parts(const float* parts, i64 count, i64 n, float* gw) {
    constexpr i64 CHUNK = 16 * 1024;
    return parallel_for(ceil_div(n, CHUNK), [&](i64 chunk) {
        const i64 first = chunk * CHUNK, last = std::min(n, first + CHUNK);
        std::memcpy(gw + first, parts + first, static_cast<std::size_t>((last - first) * FLOAT));
        for (i64 part = 1; part < count; ++part)
            for (i64 i = first; i < last; ++i) gw[i] += parts[part * n + i];
    });
}

bool finite(const float* x, i64 n) {
    std::uint32_t found = 0;
    for (i64 i = 0; i < n; ++i) {
        std::uint32_t bits;
        std::memcpy(&bits, x + i, sizeof bits);
        found |= static_cast<std::uint32_t>((bits & 0x7f800000u) == 0x7f800000u);
    }
    return !found;
}

// Small weights: a task adds up all products over a part of the tiles.
Status weights_by_tiles(const Tiles& t, const float* x, const float* g, const float* zeros, float* gw) {
    constexpr i64 AT_ONCE = 32;
    const i64 size = t.o * t.c * TAPS, pair = POINTS * apart(GROUP * t.panel);
    const i64 wanted = std::max<i64>(std::min<i64>(8, t.count / AT_ONCE), t.count / 2048);
    const i64 each = ceil_div(ceil_div(t.count, std::max<i64>(1, wanted)), AT_ONCE) * AT_ONCE, parts = ceil_div(t.count, each);
    Scratch partial(parts > 1 ? parts * size * FLOAT : 0);
    if (partial.failed()) return NO_MEMORY;
    Flags flags;
    const Status status = parallel_for(parts, [&](i64 part) {
        const i64 last = std::min(t.count, (part + 1) * each);
        Scratch inputs(POINTS * apart(t.groups * GROUP * AT_ONCE) * FLOAT), gradients(POINTS * apart(t.panels * t.panel * AT_ONCE) * FLOAT);
        Scratch sums(t.groups * t.panels * pair * FLOAT);
        if (inputs.failed() || gradients.failed() || sums.failed()) {
            flags.no_memory = true;
            return;
        }
        for (i64 first = part * each; first < last; first += AT_ONCE) {
            const i64 count = std::min(AT_ONCE, last - first);
            transform(t, x, zeros, first, count, inputs.get<float>(), 0, AT_ONCE);
            transform_gradient(t, g, zeros, first, count, gradients.get<float>(), 0, AT_ONCE);
            for (i64 i = 0; i < t.groups * t.panels; ++i)
                accumulate(t, inputs.get<float>(), gradients.get<float>(), i / t.panels, i % t.panels, count, AT_ONCE,
                           sums.get<float>() + i * pair, first > part * each);
        }
        float* to = parts > 1 ? partial.get<float>() + part * size : gw;
        for (i64 i = 0; i < t.groups * t.panels; ++i)
            finish_weights(t, sums.get<float>() + i * pair, i / t.panels, i % t.panels, to, false);
    });
    if (flags.status(status) != OK) return flags.status(status);
    return parts > 1 ? add_parts(partial.get<float>(), parts, size, gw) : OK;
}

// Large weights: all tiles are transformed (some at a time, if there are many); a task takes some channels of both.
Status weights_by_channels(const Tiles& t, const float* x, const float* g, const float* zeros, float* gw) {
    constexpr i64 SOME = 8, BYTES = 32 << 20;
    const i64 of_tile = POINTS * (t.groups * GROUP + t.panels * t.panel);
    const i64 most = std::max<i64>(64, BYTES / (of_tile * FLOAT)), each = ceil_div(t.count, ceil_div(t.count, most));
    const i64 v_size = POINTS * apart(t.groups * GROUP * each), z_size = POINTS * apart(t.panels * t.panel * each);
    Scratch all((v_size + z_size) * FLOAT);
    if (all.failed()) return NO_MEMORY;
    float *v = all.get<float>(), *z = v + v_size;
    Flags flags;
    for (i64 first = 0; first < t.count; first += each) {
        const i64 count = std::min(each, t.count - first), pieces = ceil_div(count, SOME);
        Status status = parallel_for(2 * pieces, [&](i64 task) {
            const i64 row = task / 2 * SOME, some = std::min(SOME, count - row);
            if (task % 2) transform(t, x, zeros, first + row, some, v, row, each);
            else transform_gradient(t, g, zeros, first + row, some, z, row, each);
        });
        if (status != OK) return status;
        status = parallel_for(t.groups * t.panels, [&](i64 i) {
            Scratch sums(POINTS * apart(GROUP * t.panel) * FLOAT);
            if (sums.failed()) {
                flags.no_memory = true;
                return;
            }
            accumulate(t, v, z, i / t.panels, i % t.panels, count, each, sums.get<float>(), false);
            finish_weights(t, sums.get<float>(), i / t.panels, i % t.panels, gw, first > 0);
        });
        status = flags.status(status);
        if (status != OK) return status;
    }
    return OK;
}

bool possible(const ConvShape& s, int dtype) {
    if (dtype != F32 || s.spatial != 2 || s.groups != 1 || s.n < 1 || s.c < 1 || s.o < 1 || gemm().columns > GROUP) return false;
    for (int d = 0; d < 2; ++d)
        if (s.kernel[d] != 3 || s.stride[d] != 1 || s.dilation[d] != 1 || s.in[d] < 1 || s.out[d] < 1) return false;
    return true;
}

bool small_weights(const Tiles& t) { return t.c * t.o <= 128 * 128; }

// Measured against oneDNN's direct way in one process: few channels leave the transforms more than the products, few
// tiles the weights' transform, and the more of the tiles lies outside the result, the less is saved.
bool pays(const Tiles& t) {
    const WinogradUse wanted = use;
    if (wanted != WinogradUse::where_it_pays) return wanted == WinogradUse::wherever_possible;
    return std::min(t.c, t.o) >= 48 && t.count >= 12 && 4 * t.down * t.across * 16 <= 7 * t.oh * t.ow;
}

Status convolve(const Tiles& t, bool backwards, const float* x, const float* w, const float* bias, float* y) {
    Scratch zeros(t.c * FLOAT);
    if (zeros.failed()) return NO_MEMORY;
    std::memset(zeros.get(), 0, static_cast<std::size_t>(t.c * FLOAT));
    const bool small = small_weights(t) && t.count > 64;
    return (small ? by_tiles : by_panels)(t, x, w, backwards, bias, zeros.get<float>(), y);
}

const float* floats(const char* p) { return reinterpret_cast<const float*>(p); }

}  // namespace

bool winograd_serves(const ConvShape& s, int dtype) { return possible(s, dtype) && pays(Tiles(s, false)); }

WinogradUse set_winograd(WinogradUse wanted) { return use.exchange(wanted); }

Status winograd_forward(const ConvShape& s, int dtype, Activation x, const char* w, const char* bias, char* y) {
    if (!possible(s, dtype) || x.planes) return UNSUPPORTED;
    const Tiles t(s, false);
    return pays(t) ? convolve(t, false, floats(x.data), floats(w), floats(bias), reinterpret_cast<float*>(y)) : UNSUPPORTED;
}

Status winograd_grad_input(const ConvShape& s, int dtype, Activation g, const char* w, char* gx) {
    if (!possible(s, dtype) || g.planes) return UNSUPPORTED;
    const Tiles t(s, true);
    return pays(t) ? convolve(t, true, floats(g.data), floats(w), nullptr, reinterpret_cast<float*>(gx)) : UNSUPPORTED;
}

Status winograd_grad_weight(const ConvShape& s, int dtype, Activation g, Activation x, float* gw) {
    if (!possible(s, dtype) || g.planes || x.planes) return UNSUPPORTED;
    const Tiles t(s, false);
    if (!pays(t)) return UNSUPPORTED;
    Scratch zeros(std::max(t.c, t.o) * FLOAT);
    if (zeros.failed()) return NO_MEMORY;
    std::memset(zeros.get(), 0, static_cast<std::size_t>(std::max(t.c, t.o) * FLOAT));
    const Status status = (small_weights(t) ? weights_by_tiles : weights_by_channels)(t, floats(x.data), floats(g.data), zeros.get<float>(), gw);
    return status == OK && !finite(gw, t.o * t.c * TAPS) ? UNSUPPORTED : status;
}

}  // namespace mlcore_cpu
