// The thread pool: persistent std::threads, fork-aware, interruptible. The caller works too.
//
// Work is cut into chunks by SHAPE only, never by thread count, and every chunk writes its own memory;
// which thread runs which chunk therefore cannot change a result.
#pragma once
#include <type_traits>

#include "common.hpp"

namespace mlcore_cpu {

int get_num_threads();
void set_num_threads(int n);  // n >= 1; takes effect at the next parallel_for

// Called by the calling thread between chunks, at most every 20 ms; true means "stop, an error is pending".
using PollHook = bool (*)();
void set_poll_hook(PollHook hook);

// Runs fn(context, i) for i in [0, n); returns OK or INTERRUPTED. Nested calls run inline.
Status parallel_run(i64 n, void (*fn)(void*, i64), void* context);

// For chunks that may take long: whether the loop that this chunk belongs to is to stop. To be asked every few
// milliseconds; after a true the chunk may return with its work undone, since parallel_run will say INTERRUPTED.
bool interrupted();

// While one lives, loops of this thread run to their end: for work that writes over its own inputs.
class Patient {
  public:
    Patient();
    ~Patient();
    Patient(const Patient&) = delete;
    Patient& operator=(const Patient&) = delete;
};

template <class F>
Status parallel_for(i64 n, F&& body) {
    using Body = std::remove_reference_t<F>;
    return parallel_run(n, [](void* f, i64 i) { (*static_cast<Body*>(f))(i); },
                        const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace mlcore_cpu
