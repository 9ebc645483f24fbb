#include "alloc.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

namespace mlcore_cpu {
namespace {

constexpr i64 HEADER = 64;             // keeps the user's pointer 64-byte aligned
constexpr i64 HUGE = 2 * 1024 * 1024;  // blocks from here on are mapped, and advised to use huge pages

struct Header {
    i64 capacity;  // bytes of the whole block, header included: the size class
    void* base;    // what munmap or free wants
    i64 mapped;    // bytes mapped, 0 if the block came from aligned_alloc
};
static_assert(sizeof(Header) <= HEADER, "the header must fit");

// Eight classes a power of two: at most 12.5 % is wasted, and neighbours in size share blocks.
i64 size_class(i64 bytes) {
    i64 step = 4096;
    while (step * 16 <= bytes) step *= 2;
    return (bytes + step - 1) / step * step;
}

struct Cache {
    std::mutex mutex;
    std::map<i64, std::vector<Header*>> bins;
    i64 in_use = 0, peak = 0, cached = 0, limit = 0, keep = 0;
    i64 allocations = 0, hits = 0;
};

Cache& cache() {
    static Cache* one = [] {  // never destroyed: arrays may outlive every static
        auto* made = new Cache;
        i64 ram = static_cast<i64>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
        made->keep = std::max<i64>(ram / 4, 64 << 20);
        if (const char* text = std::getenv("MLCORE_CPU_MEMORY_LIMIT")) {
            i64 n = std::strtoll(text, nullptr, 10);
            if (n > 0) made->limit = n;
        }
        return made;
    }();
    return *one;
}

struct ForkHandler {  // the child inherits a consistent cache
    ForkHandler() {
        cache();
        pthread_atfork([] { cache().mutex.lock(); }, [] { cache().mutex.unlock(); }, [] { cache().mutex.unlock(); });
    }
} fork_handler;

Header* from_system(i64 capacity) {
    if (capacity < HUGE) {
        void* base = std::aligned_alloc(4096, static_cast<std::size_t>(ceil_div(capacity, 4096) * 4096));
        if (!base) return nullptr;
        return new (base) Header{capacity, base, 0};
    }
    const i64 mapped = ceil_div(capacity, HUGE) * HUGE + HUGE;  // room to align, so that huge pages fit
    void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return nullptr;
    auto address = reinterpret_cast<std::uintptr_t>(base);
    char* aligned = reinterpret_cast<char*>((address + HUGE - 1) / HUGE * HUGE);
#ifdef MADV_HUGEPAGE
    madvise(aligned, ceil_div(capacity, HUGE) * HUGE, MADV_HUGEPAGE);
#endif
    return new (aligned) Header{capacity, base, mapped};
}

void to_system(Header* block) {
    if (block->mapped) {
        munmap(block->base, block->mapped);
    } else {
        std::free(block->base);
    }
}

i64 trim_locked(Cache& c, i64 keep) {
    i64 freed = 0;
    while (c.cached > keep && !c.bins.empty()) {
        auto bin = std::prev(c.bins.end());  // the largest first: fewest calls
        Header* block = bin->second.back();
        bin->second.pop_back();
        if (bin->second.empty()) c.bins.erase(bin);
        c.cached -= block->capacity;
        freed += block->capacity;
        to_system(block);
    }
    return freed;
}

}  // namespace

void* block_alloc(i64 bytes) {
    if (bytes < 0 || bytes > (i64{1} << 56)) return nullptr;
    const i64 capacity = size_class(bytes + HEADER);
    Cache& c = cache();
    Header* block = nullptr;
    {
        std::lock_guard<std::mutex> lock(c.mutex);
        if (c.limit && c.in_use + capacity > c.limit) return nullptr;
        ++c.allocations;
        auto bin = c.bins.find(capacity);
        if (bin != c.bins.end()) {
            block = bin->second.back();
            bin->second.pop_back();
            if (bin->second.empty()) c.bins.erase(bin);
            c.cached -= capacity;
            ++c.hits;
        }
        c.in_use += capacity;
        c.peak = std::max(c.peak, c.in_use);
    }
    if (!block) block = from_system(capacity);
    if (!block) {
        std::lock_guard<std::mutex> lock(c.mutex);
        trim_locked(c, 0);
        block = from_system(capacity);
        if (!block) c.in_use -= capacity;
    }
    return block ? reinterpret_cast<char*>(block) + HEADER : nullptr;
}

void block_free(void* data) {
    if (!data) return;
    auto* block = reinterpret_cast<Header*>(static_cast<char*>(data) - HEADER);
    Cache& c = cache();
    std::lock_guard<std::mutex> lock(c.mutex);
    c.in_use -= block->capacity;
    try {
        c.bins[block->capacity].push_back(block);
        c.cached += block->capacity;
    } catch (...) {  // no memory for the bookkeeping: let the block go
        to_system(block);
        return;
    }
    if (c.cached > c.keep) trim_locked(c, c.keep);
}

AllocStats alloc_stats() {
    Cache& c = cache();
    std::lock_guard<std::mutex> lock(c.mutex);
    return {c.in_use, c.peak, c.in_use + c.cached, c.limit, c.allocations, c.hits};
}

void set_memory_limit(i64 bytes) {
    Cache& c = cache();
    std::lock_guard<std::mutex> lock(c.mutex);
    c.limit = bytes > 0 ? bytes : 0;
}

i64 trim_cache(i64 keep) {
    Cache& c = cache();
    std::lock_guard<std::mutex> lock(c.mutex);
    return trim_locked(c, keep);
}

void reset_peak() {
    Cache& c = cache();
    std::lock_guard<std::mutex> lock(c.mutex);
    c.peak = c.in_use;
}

}  // namespace mlcore_cpu
