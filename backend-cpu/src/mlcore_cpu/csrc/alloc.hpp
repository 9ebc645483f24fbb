// A caching allocator for the results of kernels: blocks of 64 KiB and more are kept and reused, because
// fresh pages cost more than most kernels do. Thread-safe and fork-safe.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

inline constexpr i64 CACHE_FROM = 64 * 1024;  // smaller results are NumPy's business

struct AllocStats {
    i64 in_use, peak, reserved, limit;  // bytes; reserved = in use + kept for reuse; limit 0 = none
    i64 allocations, cache_hits;
};

// At least `bytes` bytes, 64-byte aligned, or nullptr when the limit or the system says no.
void* block_alloc(i64 bytes);
void block_free(void* block);  // needs no size: the block knows

AllocStats alloc_stats();
void set_memory_limit(i64 bytes);  // on in_use; 0 removes it
i64 trim_cache(i64 keep);          // gives cached blocks back until at most `keep` bytes are; returns bytes freed
void reset_peak();

// Scratch memory of a kernel; the same cache, freed at the end of the scope.
class Scratch {
  public:
    explicit Scratch(i64 bytes) : data_(bytes > 0 ? block_alloc(bytes) : nullptr), wanted_(bytes) {}
    ~Scratch() {
        if (data_) block_free(data_);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    bool failed() const { return wanted_ > 0 && !data_; }
    template <class T = char>
    T* get() const { return static_cast<T*>(data_); }

  private:
    void* data_;
    i64 wanted_;
};

}  // namespace mlcore_cpu
