#include "pool.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include <pthread.h>
#include <csignal>
#ifdef __linux__
#include <sched.h>
#endif

namespace mlcore_cpu {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto POLL_EVERY = std::chrono::milliseconds(20);
constexpr int SPINS = 4000;  // some 30 us: long enough to catch the next kernel, too short to disturb others

thread_local bool tls_inside = false;  // in a chunk already: run nested loops inline
thread_local int tls_patient = 0;      // loops of this thread are not interrupted

std::atomic<PollHook> poll_hook{nullptr};

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    std::this_thread::yield();
#endif
}

// Whether the calling thread should stop; looks at the clock, not at Python, most of the time.
struct Poller {
    Clock::time_point last = Clock::now();
    bool stop() {
        if (tls_patient) return false;
        auto now = Clock::now();
        if (now - last < POLL_EVERY) return false;
        last = now;
        PollHook hook = poll_hook.load(std::memory_order_relaxed);
        return hook && hook();
    }
};

struct Job {
    void (*fn)(void*, i64);
    void* context;
    i64 n;
    std::atomic<i64> next{0};
    std::atomic<int> busy{0};  // workers inside the job
};

class Pool {
  public:
    explicit Pool(int workers) {
        sigset_t all, old;
        sigfillset(&all);  // signals belong to the threads that Python knows
        pthread_sigmask(SIG_SETMASK, &all, &old);
        for (int i = 0; i < workers; ++i) {
            try {
                threads_.emplace_back([this] { work(); });
            } catch (...) {
                break;  // the system gives no more threads: work with those we have
            }
        }
        pthread_sigmask(SIG_SETMASK, &old, nullptr);
    }

    void shutdown() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            stopping_ = true;
            generation_.fetch_add(1);
        }
        wake_.notify_all();
        for (auto& thread : threads_) thread.join();
    }

    int workers() const { return static_cast<int>(threads_.size()); }

    Status run(Job& job) {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            job_ = &job;
            generation_.fetch_add(1, std::memory_order_release);
        }
        if (sleeping_.load() > 0) wake_.notify_all();
        Poller poller;
        bool stopped = false;
        tls_inside = true;
        for (i64 i; (i = job.next.fetch_add(1)) < job.n;) {
            job.fn(job.context, i);
            if (poller.stop()) {
                stopped = true;
                job.next.store(job.n);
                break;
            }
        }
        tls_inside = false;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            job_ = nullptr;  // no worker may enter any more
        }
        for (int spin = 0; job.busy.load(std::memory_order_acquire) > 0; ++spin) {
            if (spin < SPINS) {
                relax();
                continue;
            }
            std::unique_lock<std::mutex> lock(mutex_);
            done_.wait_for(lock, POLL_EVERY, [&] { return job.busy.load() == 0; });
            lock.unlock();
            if (!stopped && poller.stop()) {
                stopped = true;
                job.next.store(job.n);
            }
        }
        return stopped ? INTERRUPTED : OK;
    }

    std::mutex in_use;  // held by the thread whose job runs

  private:
    void work() {
        tls_inside = true;
        std::uint64_t seen = 0;
        for (;;) {
            for (int spin = 0; spin < SPINS && generation_.load(std::memory_order_acquire) == seen; ++spin) relax();
            Job* job;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                sleeping_.fetch_add(1);
                wake_.wait(lock, [&] { return generation_.load() != seen; });
                sleeping_.fetch_sub(1);
                if (stopping_) return;
                seen = generation_.load();
                job = job_;
                if (!job) continue;
                job->busy.fetch_add(1);
            }
            for (i64 i; (i = job->next.fetch_add(1)) < job->n;) job->fn(job->context, i);
            std::lock_guard<std::mutex> lock(mutex_);  // the job dies with the caller's wait: touch it last here
            if (job->busy.fetch_sub(1, std::memory_order_release) == 1) done_.notify_all();
        }
    }

    std::vector<std::thread> threads_;
    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::atomic<std::uint64_t> generation_{0};
    std::atomic<int> sleeping_{0};
    Job* job_ = nullptr;
    bool stopping_ = false;
};

int default_threads() {
    if (const char* text = std::getenv("MLCORE_NUM_THREADS")) {
        char* end;
        long n = std::strtol(text, &end, 10);
        if (end != text && n >= 1 && n <= 4096) return static_cast<int>(n);
    }
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
#endif
    unsigned n = std::thread::hardware_concurrency();
    return n ? static_cast<int>(n) : 1;
}

std::mutex* pool_mutex = new std::mutex;  // guards the two below; never destroyed (threads outlive statics)
std::atomic<Pool*> the_pool{nullptr};
std::atomic<int> wanted{0};

// In a forked child no worker exists: forget the parent's pool and start a fresh one on first use.
void after_fork_in_child() {
    the_pool.store(nullptr);
    pool_mutex = new std::mutex;
    tls_inside = false;
}

struct ForkHandler {
    ForkHandler() { pthread_atfork(nullptr, nullptr, after_fork_in_child); }
} fork_handler;

Pool* pool() {
    Pool* found = the_pool.load(std::memory_order_acquire);
    if (found) return found;
    std::lock_guard<std::mutex> lock(*pool_mutex);
    found = the_pool.load();
    if (!found) {
        found = new Pool(get_num_threads() - 1);
        the_pool.store(found, std::memory_order_release);
    }
    return found;
}

}  // namespace

int get_num_threads() {
    int n = wanted.load(std::memory_order_relaxed);
    if (n > 0) return n;
    const int chosen = default_threads();
    return wanted.compare_exchange_strong(n, chosen) ? chosen : n;
}

void set_num_threads(int n) {
    std::lock_guard<std::mutex> lock(*pool_mutex);
    wanted.store(n < 1 ? 1 : n);
    Pool* old = the_pool.load();
    if (old && old->workers() != wanted.load() - 1) {
        old->in_use.lock();  // wait for a running job; the old pool object is leaked, its threads are joined
        the_pool.store(nullptr);
        old->in_use.unlock();
        old->shutdown();
    }
}

Patient::Patient() { ++tls_patient; }
Patient::~Patient() { --tls_patient; }

void set_poll_hook(PollHook hook) { poll_hook.store(hook); }

Status parallel_run(i64 n, void (*fn)(void*, i64), void* context) {
    if (n <= 0) return OK;
    if (tls_inside) {
        for (i64 i = 0; i < n; ++i) fn(context, i);
        return OK;
    }
    if (n > 1 && get_num_threads() > 1) {
        Pool* shared = pool();
        std::unique_lock<std::mutex> mine(shared->in_use, std::try_to_lock);
        if (mine.owns_lock() && shared == the_pool.load()) {
            Job job;
            job.fn = fn;
            job.context = context;
            job.n = n;
            return shared->run(job);
        }
    }
    Poller poller;  // one thread, or the pool serves another caller
    for (i64 i = 0; i < n; ++i) {
        tls_inside = true;
        fn(context, i);
        tls_inside = false;
        if (i + 1 < n && poller.stop()) return INTERRUPTED;
    }
    return OK;
}

}  // namespace mlcore_cpu
