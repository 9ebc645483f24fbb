// The caching allocator for the results of kernels: memory from 64 KiB up is kept and reused, because fresh pages
// cost more than most kernels do. Thread-safe and fork-safe. Everything a kernel allocates passes through here, so
// that a test can let any one of these allocations fail.
#pragma once
#include <atomic>

#include "common.hpp"

namespace mlcore_cpu {

inline constexpr i64 CACHE_FROM = 64 * 1024;  // smaller results are NumPy's business, smaller scratch malloc's

struct AllocStats {
    i64 in_use, peak, reserved, limit;  // bytes; reserved = in use + kept for reuse; limit 0 = none
    i64 allocations, cache_hits;
};

// A piece of mapped memory; `data` is aligned to a page, `size` is at least what was asked for.
struct Piece;
Piece* block_alloc(i64 bytes);  // nullptr when the limit or the system says no
void block_free(Piece* block);
void* block_data(const Piece* block);

AllocStats alloc_stats();
void set_memory_limit(i64 bytes);  // on in_use; 0 removes it
i64 trim_cache(i64 keep);          // gives unused memory back until at most `keep` bytes are kept; returns bytes freed
void reset_peak();

// For tests: the allocation after `count` further ones fails, once; negative: none. Returns what was left to go.
i64 fail_allocation(i64 count);

extern std::atomic<i64> fail_countdown;
bool fail_counted();
// Whether this allocation is the one that shall fail; every allocation of ours asks.
inline bool fail_here() { return fail_countdown.load(std::memory_order_relaxed) >= 0 && fail_counted(); }

// Scratch memory of a kernel, 64-byte aligned, freed at the end of the scope.
class Scratch {
  public:
    explicit Scratch(i64 bytes);
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    bool failed() const { return wanted_ > 0 && !data_; }
    template <class T = char>
    T* get() const { return static_cast<T*>(data_); }

  private:
    void* data_ = nullptr;
    Piece* block_ = nullptr;  // null where malloc served it
    i64 wanted_;
};

}  // namespace mlcore_cpu
