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
constexpr int SPINS = 4000;  // some 30 to 100 us: long enough to catch the next kernel, too short to disturb others

thread_local bool tls_inside = false;  // in a chunk already: run nested loops inline
thread_local int tls_patient = 0;      // loops of this thread are not interrupted

std::atomic<PollHook> poll_hook{nullptr};

// One turn of a busy wait. Now and then the core is offered to others: a worker just woken may share it with its waker.
inline void relax(int turn) {
#if defined(__x86_64__)
    if (turn % 64 != 63) {
        __builtin_ia32_pause();
        return;
    }
#endif
    std::this_thread::yield();
}

// Whether the calling thread should stop, and with it the workers on its job; once it should, it remembers. Looks at the
// clock, not at Python, most of the time; when it last looked at Python is the thread's to know, so that many short loops
// one after the other look as often as one long one. While it lives, chunks that run on this thread ask it, too.
class Poller {
  public:
    explicit Poller(std::atomic<bool>* halt = nullptr) : halt_(halt), outer_(tls_poller) { tls_poller = this; }
    ~Poller() { tls_poller = outer_; }
    Poller(const Poller&) = delete;
    Poller& operator=(const Poller&) = delete;

    bool stopped() const { return stopped_; }
    bool stop() {
        if (stopped_ || tls_patient) return stopped_;
        static thread_local Clock::time_point last = Clock::now();
        const auto now = Clock::now();
        if (now - last < POLL_EVERY) return false;
        last = now;
        PollHook hook = poll_hook.load(std::memory_order_relaxed);
        stopped_ = hook && hook();
        if (stopped_ && halt_) halt_->store(true, std::memory_order_relaxed);
        return stopped_;
    }

    static thread_local Poller* tls_poller;  // of the loop that this thread has begun

  private:
    bool stopped_ = false;
    std::atomic<bool>* halt_;
    Poller* outer_;
};
thread_local Poller* Poller::tls_poller = nullptr;
thread_local const std::atomic<bool>* tls_halt = nullptr;  // of the pool that this worker belongs to

// What is left of one participant's share: chunks [front, back), packed so that one exchange takes one of them.
// The owner takes from the front, thieves from the back: a share mostly stays on the core that has it in its cache.
struct alignas(64) Share {
    std::atomic<std::uint64_t> left{0};

    void set(std::uint64_t front, std::uint64_t back) { left.store(front << 32 | back, std::memory_order_relaxed); }
    template <bool Own>
    i64 take() {  // -1 when nothing is left
        std::uint64_t now = left.load(std::memory_order_relaxed);
        for (;;) {
            const std::uint64_t front = now >> 32, back = now & 0xffffffffu;
            if (front >= back) return -1;
            const std::uint64_t then = Own ? (front + 1) << 32 | back : front << 32 | (back - 1);
            if (left.compare_exchange_weak(now, then, std::memory_order_relaxed))
                return static_cast<i64>(Own ? front : back - 1);
        }
    }
};
constexpr i64 MOST_CHUNKS = i64{1} << 31;  // of one job: a share's ends are 32 bits wide

class Pool {
  public:
    explicit Pool(int workers) : shares_(static_cast<std::size_t>(workers) + 1) {
        sigset_t all, old;
        sigfillset(&all);  // signals belong to the threads that Python knows
        pthread_sigmask(SIG_SETMASK, &all, &old);
        for (int i = 0; i < workers; ++i) {
            try {
                threads_.emplace_back([this, i] { work(i + 1); });
            } catch (...) {
                break;  // the system gives no more threads: work with those we have
            }
        }
        pthread_sigmask(SIG_SETMASK, &old, nullptr);
    }

    void shutdown() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            stopping_.store(true);
            gate_.fetch_add(GENERATION);
        }
        wake_.notify_all();
        for (auto& thread : threads_) thread.join();
    }

    int workers() const { return static_cast<int>(threads_.size()); }

    Status run(i64 n, void (*fn)(void*, i64), void* context) {  // 0 < n < MOST_CHUNKS
        const std::uint64_t all = static_cast<std::uint64_t>(n), count = threads_.size() + 1;
        for (std::uint64_t p = 0; p < count; ++p) shares_[p].set(all * p / count, all * (p + 1) / count);
        fn_ = fn;
        context_ = context;
        halt_.store(false, std::memory_order_relaxed);
        gate_.store((gate_.load(std::memory_order_relaxed) / GENERATION + 1) * GENERATION + OPEN);
        if (sleeping_.load() > 0) {
            { std::lock_guard<std::mutex> lock(mutex_); }  // whoever counted himself in is waiting by now
            wake_.notify_all();
        }
        Poller poller(&halt_);
        tls_inside = true;
        each_chunk(0, [&](i64 i) {
            fn(context, i);
            return !poller.stop();
        });
        tls_inside = false;
        if (poller.stopped()) drop_rest();
        gate_.fetch_and(~OPEN);  // no worker may enter any more
        for (int spin = 0; busy(); ++spin) {
            if (spin < SPINS) {
                relax(spin);
                continue;
            }
            std::unique_lock<std::mutex> lock(mutex_);
            waiting_.store(true);
            done_.wait_for(lock, POLL_EVERY, [&] { return !busy(); });
            waiting_.store(false);
            lock.unlock();
            if (!poller.stopped() && poller.stop()) drop_rest();
        }
        return poller.stopped() ? INTERRUPTED : OK;
    }

    std::mutex in_use;  // held by the thread whose job runs

  private:
    // gate_: the job's number, how many workers are inside, and whether more may enter
    static constexpr std::uint64_t OPEN = 1, ENTRY = 2, GENERATION = std::uint64_t{1} << 20;

    bool busy() const { return (gate_.load() % GENERATION) >= ENTRY; }

    void drop_rest() {
        for (Share& share : shares_) share.set(0, 0);
    }

    // f(chunk) for the chunks of the participant's own share, then for what it can take from others; until f says no.
    template <class F>
    void each_chunk(std::size_t self, F&& f) {
        for (i64 i; (i = shares_[self].take<true>()) >= 0;)
            if (!f(i)) return;
        for (std::size_t k = 1; k < shares_.size(); ++k) {
            Share& other = shares_[(self + k) % shares_.size()];
            for (i64 i; (i = other.take<false>()) >= 0;)
                if (!f(i)) return;
        }
    }

    void work(std::size_t self) {
        tls_inside = true;
        tls_halt = &halt_;
        std::uint64_t seen = 0;
        const auto news = [&] { return gate_.load() / GENERATION != seen; };
        for (;;) {
            for (int spin = 0; spin < SPINS && !news(); ++spin) relax(spin);
            if (!news()) {
                std::unique_lock<std::mutex> lock(mutex_);
                sleeping_.fetch_add(1);
                wake_.wait(lock, news);
                sleeping_.fetch_sub(1);
            }
            std::uint64_t gate = gate_.load();
            if (stopping_.load()) return;  // asked after the gate: an end that comes later changes the gate once more
            seen = gate / GENERATION;
            while ((gate & OPEN) && !gate_.compare_exchange_weak(gate, gate + ENTRY)) {}
            if (!(gate & OPEN)) continue;
            seen = gate / GENERATION;
            each_chunk(self, [this](i64 i) {
                fn_(context_, i);
                return true;
            });
            gate_.fetch_sub(ENTRY);  // from here on the job may be gone; the pool stays
            if (waiting_.load()) {
                { std::lock_guard<std::mutex> lock(mutex_); }
                done_.notify_all();
            }
        }
    }

    std::vector<Share> shares_;
    std::vector<std::thread> threads_;
    void (*fn_)(void*, i64) = nullptr;
    void* context_ = nullptr;
    alignas(64) std::atomic<std::uint64_t> gate_{0};
    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::atomic<int> sleeping_{0};
    std::atomic<bool> waiting_{false}, stopping_{false}, halt_{false};
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
    Poller::tls_poller = nullptr;
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

bool interrupted() {
    if (Poller::tls_poller) return Poller::tls_poller->stop();
    return tls_halt && tls_halt->load(std::memory_order_relaxed);
}

void set_poll_hook(PollHook hook) { poll_hook.store(hook); }

Status parallel_run(i64 n, void (*fn)(void*, i64), void* context) {
    if (n <= 0) return OK;
    if (tls_inside) {
        for (i64 i = 0; i < n; ++i) {
            fn(context, i);
            if (interrupted()) return INTERRUPTED;
        }
        return OK;
    }
    if (n > 1 && n < MOST_CHUNKS && get_num_threads() > 1) {
        Pool* shared = pool();
        std::unique_lock<std::mutex> mine(shared->in_use, std::try_to_lock);
        if (mine.owns_lock() && shared == the_pool.load()) {
            return shared->run(n, fn, context);
        }
    }
    Poller poller;  // one thread, or the pool serves another caller
    for (i64 i = 0; i < n; ++i) {
        tls_inside = true;
        fn(context, i);
        tls_inside = false;
        if (poller.stop()) return INTERRUPTED;
    }
    return OK;
}

}  // namespace mlcore_cpu
