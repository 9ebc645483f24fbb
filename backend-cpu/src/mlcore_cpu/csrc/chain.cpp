#include "chain.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#include "drivers.hpp"

namespace mlcore_cpu {
namespace {

constexpr i64 SCRATCH = 96 * 1024;   // bytes of slots at most, on the stack of the thread that works
constexpr i64 WANTED = 28 * 1024;    // bytes of a block over all slots and arrays, which are to stay in L1
constexpr i64 PAD = 64;              // between slots, so that not all begin in one set of the cache
constexpr i64 LEAST = 64, MOST = 2048;  // elements of a block
constexpr int MOST_PLACES = 192;

// A Python number as an element.
void put(double value, int dtype, char* at) {
    if (dtype == F64) {
        std::memcpy(at, &value, sizeof value);
    } else if (dtype == BOOL) {
        at[0] = value != 0;
    } else {
        const float narrow = static_cast<float>(value);
        std::memcpy(at, &narrow, sizeof narrow);
    }
}

void run_step(const ChainStep& step, void* const* place, i64 n) {
    const auto number = [&](int at) { return at < 0 ? nullptr : place[at]; };
    switch (step.kind) {
        case ChainKind::arithmetic:
            step.arithmetic(place[step.from[0]], place[step.from[1]], place[step.to], n, number(step.from[2]), number(step.from[3]), number(step.from[4]));
            break;
        case ChainKind::unary: step.unary(place[step.from[0]], place[step.to], n); break;
        case ChainKind::binary: step.binary(place[step.from[0]], place[step.from[1]], place[step.to], n, step.mode); break;
        case ChainKind::select:
            table().select[log2_itemsize(step.itemsize)](
                static_cast<const unsigned char*>(place[step.from[0]]), static_cast<const char*>(place[step.from[1]]),
                static_cast<const char*>(place[step.from[2]]), static_cast<char*>(place[step.to]), n);
            break;
        case ChainKind::copy:
            if (place[step.to] != place[step.from[0]]) std::memcpy(place[step.to], place[step.from[0]], n * step.itemsize);
            break;
        case ChainKind::fill:
            table().fill[log2_itemsize(step.itemsize)](static_cast<const char*>(place[step.from[0]]), static_cast<char*>(place[step.to]), n);
            break;
    }
}

// Elements [first, first + n) of one run.
void run_part(const ChainArrays& arrays, i64 first, i64 n) {
    const Chain& chain = *arrays.chain;
    alignas(64) char scratch[SCRATCH];
    alignas(8) char cells[MOST_PLACES * 8];
    void* place[MOST_PLACES];
    const int outside = chain.inputs + chain.outputs;
    const i64 stride = chain.block * chain.widest + PAD;
    for (int i = 0; i < outside; ++i) place[i] = static_cast<char*>(arrays.of[i]) + first * chain.itemsizes[i];
    for (int i = 0; i < chain.slots; ++i) place[outside + i] = scratch + i * stride;
    for (std::size_t i = 0; i < chain.number_dtypes.size(); ++i) {
        put(arrays.numbers[i], chain.number_dtypes[i], cells + 8 * i);
        place[outside + chain.slots + static_cast<int>(i)] = cells + 8 * i;
    }
    for (const ChainStep& step : chain.once) run_step(step, place, std::min(n, chain.block));
    const i64 steps = static_cast<i64>(chain.steps.size());
    for (i64 done = 0; done < n; done += chain.block) {
        const i64 here = std::min(chain.block, n - done), next = std::min(chain.block, n - done - here);
        for (i64 at = 0; at < steps; ++at) {
            // The next block's inputs come while this one is worked on, a part of them with each step.
            for (int i = 0; i < chain.inputs && next > 0; ++i) {
                const char* x = static_cast<const char*>(place[i]) + here * chain.itemsizes[i];
                const i64 lines = ceil_div(next * chain.itemsizes[i], 64);
                for (i64 line = lines * at / steps; line < lines * (at + 1) / steps; ++line) __builtin_prefetch(x + 64 * line);
            }
            run_step(chain.steps[static_cast<std::size_t>(at)], place, here);
        }
        for (int i = 0; i < outside; ++i) place[i] = static_cast<char*>(place[i]) + here * chain.itemsizes[i];
    }
}

}  // namespace

bool Chain::finish() {
    if (inputs + outputs + slots + static_cast<int>(number_dtypes.size()) > MOST_PLACES) return false;
    const i64 lines = slots + inputs + outputs;
    block = std::clamp<i64>(WANTED / std::max<i64>(1, lines * widest) / LEAST * LEAST, LEAST, MOST);
    return slots * (block * widest + PAD) <= SCRATCH;
}

Status run_chains(const ChainArrays* arrays, i64 count) try {
    return over_arrays(arrays, count, [](const ChainArrays& one, i64 first, i64 n) { run_part(one, first, n); });
} catch (const std::bad_alloc&) {
    return NO_MEMORY;
}

}  // namespace mlcore_cpu
