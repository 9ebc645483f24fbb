#include "dnn_common.hpp"

#include "dnn.hpp"

#ifndef MLCORE_ONEDNN

namespace mlcore_cpu {
bool dnn_available() { return false; }
const char* dnn_version() { return ""; }
}  // namespace mlcore_cpu

#else

#include <mutex>

#include <pthread.h>

#include "alloc.hpp"

namespace mlcore_cpu {
namespace dnn {
namespace {

std::mutex cache_mutex;
std::unordered_map<std::string, Shared>& cache() {
    static auto* one = new std::unordered_map<std::string, Shared>;
    return *one;
}
struct ForkHandler {  // no fork while a primitive is being made: oneDNN's own locks stay free too
    ForkHandler() {
        pthread_atfork([] { cache_mutex.lock(); }, [] { cache_mutex.unlock(); }, [] { cache_mutex.unlock(); });
    }
} fork_handler;

}  // namespace

Shared compiled(const Key& key, const std::function<Compiled()>& make) {
    std::lock_guard<std::mutex> lock(cache_mutex);
    auto found = cache().find(key.text());
    if (found != cache().end()) return found->second;
    OneThread guard;
    auto made = std::make_shared<Compiled>(make());
    if (cache().size() > 2048) cache().clear();
    cache()[key.text()] = made;
    return made;
}

void execute(const Compiled& c, std::unordered_map<int, memory> args, std::atomic<bool>& failed) {
    try {
        OneThread guard;
        Scratch scratch(static_cast<i64>(c.scratch.get_size()));
        if (scratch.failed()) {
            failed = true;
            return;
        }
        if (c.scratch.get_size()) args[DNNL_ARG_SCRATCHPAD] = wrap(c.scratch, scratch.get());
        c.primitive.execute(stream(), args);
    } catch (...) {
        failed = true;
    }
}

void repack(const Repack& how, const void* from, void* to, std::atomic<bool>& failed) {
    try {
        OneThread guard;
        how.reorder.execute(stream(), {{DNNL_ARG_FROM, wrap(how.from, from)}, {DNNL_ARG_TO, wrap(how.to, to)}});
    } catch (...) {
        failed = true;
    }
}

}  // namespace dnn

bool dnn_available() { return true; }
const char* dnn_version() {
    static const std::string text = [] {
        const auto* v = dnnl_version();
        return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
    }();
    return text.c_str();
}

}  // namespace mlcore_cpu

#endif
