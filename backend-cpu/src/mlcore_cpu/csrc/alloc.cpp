#include "alloc.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

namespace mlcore_cpu {

// One piece of mapped memory. All pieces are linked in the order of their addresses, the unused ones also in a bin.
struct Piece {
    char* data;
    i64 size;
    bool used;
    Piece *before, *after;  // by address, adjacent or not
    Piece *up, *down;       // in the bin; `down` also links the spare nodes
};

namespace {

constexpr i64 PAGE = 4096;
constexpr i64 HUGE = 2 * 1024 * 1024;  // memory is asked of the system in such pieces, and advised to use huge pages
constexpr i64 KEEP = 64 << 20;         // unused memory that is always kept
constexpr i64 EPOCH = 4096;            // allocations over which the recent peak is taken
constexpr int FINE = 8, BINS = 44 * FINE;

i64 round_up(i64 n, i64 unit) { return ceil_div(n, unit) * unit; }
i64 slack(i64 size) { return size / 8; }  // a block that is larger by no more is handed out whole

int bin_of(i64 size) {  // eight bins a power of two
    const std::uint64_t pages = static_cast<std::uint64_t>(size / PAGE);
    if (pages < FINE) return static_cast<int>(pages);
    const int top = 63 - __builtin_clzll(pages);
    return std::min((top - 2) * FINE + static_cast<int>((pages >> (top - 3)) & (FINE - 1)), BINS - 1);
}

class Heap {
  public:
    Heap() {
        if (const char* text = std::getenv("MLCORE_CPU_MEMORY_LIMIT")) {
            const i64 n = std::strtoll(text, nullptr, 10);
            if (n > 0) stats.limit = n;
        }
    }

    Piece* take(i64 bytes) {
        const i64 size = round_up(std::max<i64>(bytes, 1), PAGE);
        if (stats.limit && stats.in_use + size > stats.limit) return nullptr;
        ++stats.allocations;
        Piece* found = alike(size);
        if (found) {
            ++stats.cache_hits;
        } else {
            found = from_larger(size);
            if (!found && grow(size)) found = from_larger(size);
            if (!found) return nullptr;
        }
        found->used = true;
        stats.in_use += found->size;
        stats.peak = std::max(stats.peak, stats.in_use);
        epoch_peak_ = std::max(epoch_peak_, stats.in_use);
        if (stats.allocations % EPOCH == 0) {
            last_peak_ = epoch_peak_;
            epoch_peak_ = stats.in_use;
        }
        return found;
    }

    void give(Piece* block) {
        block->used = false;
        stats.in_use -= block->size;
        put(block);
        // Kept: as much as was in use at once lately, so that a loop finds all it frees again, and a change of sizes
        // does not keep both worlds.
        const i64 keep = std::max(KEEP, 2 * std::max(last_peak_, epoch_peak_) - stats.in_use);
        if (cached_ > keep) trim(keep);
    }

    i64 trim(i64 keep) {
        i64 freed = 0;
        merge();
        for (int bin = BINS - 1; bin >= 0 && cached_ > keep; --bin) {  // the largest first: fewest calls
            while (bins_[bin] && cached_ > keep) {
                Piece* block = bins_[bin];
                if (munmap(block->data, static_cast<std::size_t>(block->size)) != 0) return freed;
                pull(block);
                freed += block->size;
                forget(block);
            }
        }
        return freed;
    }

    AllocStats report() const {
        AllocStats found = stats;
        found.reserved = stats.in_use + cached_;
        return found;
    }

    std::mutex mutex;
    AllocStats stats{};

  private:
    void put(Piece* block) {
        Piece*& top = bins_[bin_of(block->size)];
        block->up = nullptr;
        block->down = top;
        if (top) top->up = block;
        top = block;
        cached_ += block->size;
    }

    void pull(Piece* block) {
        if (block->up) block->up->down = block->down;
        else bins_[bin_of(block->size)] = block->down;
        if (block->down) block->down->up = block->up;
        cached_ -= block->size;
    }

    // The smallest unused block of a bin that has `size`; of equal ones the one freed last, whose data is in the cache.
    Piece* fitting(int bin, i64 size) const {
        Piece* best = nullptr;
        int looked = 0;
        for (Piece* one = bins_[bin]; one && looked < 64; one = one->down, ++looked) {
            if (one->size == size) return one;
            if (one->size > size && (!best || one->size < best->size)) best = one;
        }
        return best;
    }

    // A block of this size, or hardly more, without cutting any: what a loop freed a moment ago.
    Piece* alike(i64 size) {
        const int bin = bin_of(size);
        Piece* found = fitting(bin, size);
        if (!found && bin + 1 < BINS) found = fitting(bin + 1, size);
        if (!found || found->size - size > slack(size)) return nullptr;
        pull(found);
        return found;
    }

    // The best fitting piece of all unused memory, cut to size.
    Piece* from_larger(i64 size) {
        merge();
        Piece* found = nullptr;
        for (int bin = bin_of(size); bin < BINS && !found; ++bin) found = fitting(bin, size);
        if (!found) return nullptr;
        if (found->size - size > slack(std::min<i64>(size, HUGE))) {
            Piece* rest = node();
            if (!rest) return nullptr;
            pull(found);
            *rest = Piece{found->data + size, found->size - size, false, found, found->after, nullptr, nullptr};
            if (rest->after) rest->after->before = rest;
            found->after = rest;
            found->size = size;
            put(rest);
        } else {
            pull(found);
        }
        return found;
    }

    // Unused neighbours become one. Not done when they are freed: a loop then finds its blocks as they were.
    void merge() {
        for (Piece* one = first_; one; one = one->after) {
            if (one->used || !one->after || one->after->used || one->data + one->size != one->after->data) continue;
            pull(one);
            while (one->after && !one->after->used && one->data + one->size == one->after->data) {
                Piece* next = one->after;
                pull(next);
                one->size += next->size;
                forget(next);
            }
            put(one);
        }
    }

    bool grow(i64 size) {
        const i64 bytes = round_up(size, HUGE);
        // Scattered unused memory makes room, where there is much of it: fragments are not paid for twice.
        const i64 most = std::max({last_peak_, epoch_peak_, stats.in_use + size}) / 4 * 5 + HUGE;
        if (stats.in_use + cached_ + bytes > most) trim(std::max<i64>(0, most - stats.in_use - bytes));
        char* memory = map(bytes);
        if (!memory) {
            trim(0);
            memory = map(bytes);
        }
        Piece* block = memory ? node() : nullptr;
        if (!block) {
            if (memory) munmap(memory, static_cast<std::size_t>(bytes));
            return false;
        }
#ifdef MADV_HUGEPAGE
        madvise(memory, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
#endif
        Piece *before = nullptr, *after = first_;
        while (after && after->data < memory) before = after, after = after->after;
        *block = Piece{memory, bytes, false, before, after, nullptr, nullptr};
        (before ? before->after : first_) = block;
        if (after) after->before = block;
        put(block);
        return true;
    }

    // Fresh pages on a huge page's boundary, below the memory we have if that is free: then they become one piece.
    char* map(i64 bytes) {
        if (first_ && reinterpret_cast<std::uintptr_t>(first_->data) % HUGE == 0) {
            char* wanted = first_->data - bytes;
            char* found = raw_map(wanted, bytes);
            if (!found || found == wanted) return found;
            munmap(found, static_cast<std::size_t>(bytes));
        }
        char* found = raw_map(nullptr, bytes + HUGE);
        if (!found) return nullptr;
        char* start = reinterpret_cast<char*>(round_up(reinterpret_cast<i64>(found), HUGE));
        if (start != found) munmap(found, static_cast<std::size_t>(start - found));
        char* end = found + bytes + HUGE;
        if (start + bytes != end) munmap(start + bytes, static_cast<std::size_t>(end - start - bytes));
        return start;
    }
    static char* raw_map(char* where, i64 bytes) {
        void* found = mmap(where, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return found == MAP_FAILED ? nullptr : static_cast<char*>(found);
    }

    Piece* node() {
        if (!spare_) return new (std::nothrow) Piece;
        Piece* found = spare_;
        spare_ = found->down;
        return found;
    }
    void forget(Piece* block) {  // one that is in no bin any more
        (block->before ? block->before->after : first_) = block->after;
        if (block->after) block->after->before = block->before;
        block->down = spare_;
        spare_ = block;
    }

    Piece* bins_[BINS] = {};
    Piece* first_ = nullptr;
    Piece* spare_ = nullptr;
    i64 cached_ = 0, epoch_peak_ = 0, last_peak_ = 0;
};

Heap& heap() {
    static Heap* one = new Heap;  // never destroyed: arrays may outlive every static
    return *one;
}

struct ForkHandler {  // the child inherits a consistent heap
    ForkHandler() {
        heap();
        pthread_atfork([] { heap().mutex.lock(); }, [] { heap().mutex.unlock(); }, [] { heap().mutex.unlock(); });
    }
} fork_handler;

}  // namespace

std::atomic<i64> fail_countdown{-1};

bool fail_counted() {
    i64 left = fail_countdown.load();
    while (left >= 0)
        if (fail_countdown.compare_exchange_weak(left, left - 1)) return left == 0;
    return false;
}

i64 fail_allocation(i64 count) { return fail_countdown.exchange(count < 0 ? -1 : count); }

// MLCORE_CPU_POISON=1, for tests: memory is handed out full of NaN, so that reading what nobody wrote is noticed.
static void poison(void* data, i64 bytes) {
    static const bool wanted = [] {
        const char* text = std::getenv("MLCORE_CPU_POISON");
        return text && *text == '1';
    }();
    if (wanted && data) std::memset(data, 0xff, static_cast<std::size_t>(bytes));
}

Piece* block_alloc(i64 bytes) {
    if (bytes < 0 || bytes > (i64{1} << 46) || fail_here()) return nullptr;
    std::unique_lock<std::mutex> lock(heap().mutex);
    Piece* found = heap().take(bytes);
    lock.unlock();
    if (found) poison(found->data, found->size);
    return found;
}

void block_free(Piece* block) {
    if (!block) return;
    std::lock_guard<std::mutex> lock(heap().mutex);
    heap().give(block);
}

void* block_data(const Piece* block) { return block->data; }

AllocStats alloc_stats() {
    std::lock_guard<std::mutex> lock(heap().mutex);
    return heap().report();
}

void set_memory_limit(i64 bytes) {
    std::lock_guard<std::mutex> lock(heap().mutex);
    heap().stats.limit = bytes > 0 ? bytes : 0;
}

i64 trim_cache(i64 keep) {
    std::lock_guard<std::mutex> lock(heap().mutex);
    return heap().trim(keep);
}

void reset_peak() {
    std::lock_guard<std::mutex> lock(heap().mutex);
    heap().stats.peak = heap().stats.in_use;
}

Scratch::Scratch(i64 bytes) : wanted_(bytes) {
    if (bytes <= 0) return;
    if (bytes < CACHE_FROM) {
        if (!fail_here()) data_ = std::aligned_alloc(64, static_cast<std::size_t>(round_up(bytes, 64)));
        poison(data_, bytes);
        return;
    }
    block_ = block_alloc(bytes);
    if (block_) data_ = block_->data;
}

Scratch::~Scratch() {
    if (block_) block_free(block_);
    else std::free(data_);
}

}  // namespace mlcore_cpu
