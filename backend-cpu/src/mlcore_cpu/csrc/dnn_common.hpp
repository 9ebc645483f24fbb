// What the oneDNN parts share: one engine, primitives kept by key, one-threaded execution.
#pragma once
#ifdef MLCORE_ONEDNN

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "common.hpp"

extern "C" {
int omp_get_max_threads(void);
void omp_set_num_threads(int);
}

namespace mlcore_cpu {
namespace dnn {

using dnnl::memory;
using Dims = memory::dims;

// oneDNN sees one OpenMP thread while we call it; the caller's setting is put back.
class OneThread {
  public:
    OneThread() : before_(omp_get_max_threads()) {
        if (before_ != 1) omp_set_num_threads(1);
    }
    ~OneThread() {
        if (before_ != 1) omp_set_num_threads(before_);
    }

  private:
    int before_;
};

inline dnnl::engine& engine() {
    static auto* one = new dnnl::engine(dnnl::engine::kind::cpu, 0);
    return *one;
}
inline dnnl::stream& stream() {
    thread_local dnnl::stream one(engine());
    return one;
}

inline memory::data_type type_of(int dtype) { return dtype == BF16 ? memory::data_type::bf16 : memory::data_type::f32; }

struct Repack {
    dnnl::primitive reorder;
    memory::desc from, to;
};

// A compiled primitive and the layouts it wants.
struct Compiled {
    dnnl::primitive primitive;
    memory::desc src, weights, bias, dst, scratch;
    std::vector<Repack> repack;  // convolutions: between plain weights and `weights`; empty where they are the same
};
using Shared = std::shared_ptr<const Compiled>;

class Key {
  public:
    Key& add(i64 v) {
        text_.append(reinterpret_cast<const char*>(&v), sizeof v);
        return *this;
    }
    Key& add(const Dims& dims) {
        add(static_cast<i64>(dims.size()));
        for (auto d : dims) add(d);
        return *this;
    }
    const std::string& text() const { return text_; }

  private:
    std::string text_;
};

// The primitive of `key`, made once; no fork happens while one is made.
Shared compiled(const Key& key, const std::function<Compiled()>& make);

inline dnnl::primitive_attr attributes() {
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // library scratchpads are not thread-safe
    return attr;
}

inline memory wrap(const memory::desc& desc, const void* data) { return memory(desc, engine(), const_cast<void*>(data)); }

// Runs the primitive on this thread. Errors inside tasks are kept in `failed`.
void execute(const Compiled& c, std::unordered_map<int, memory> args, std::atomic<bool>& failed);

void repack(const Repack& how, const void* from, void* to, std::atomic<bool>& failed);

// Made with its primitive, under the cache's lock, like everything that takes locks inside oneDNN.
inline dnnl::primitive reorder_between(const memory::desc& from, const memory::desc& to) {
    if (from == to) return dnnl::primitive();
    return dnnl::reorder(dnnl::reorder::primitive_desc(engine(), from, engine(), to));
}

}  // namespace dnn
}  // namespace mlcore_cpu

#endif
