// Runs CUDA kernels on the host, one block after the other. Threads of a block are fibers where a kernel has them wait
// for each other, and a loop where not. Waiting that would hang, or that a device leaves undefined, ends the launch
// with an error: a barrier that some threads pass elsewhere, a shuffle whose partner has left.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define DYNAMIC_SHARED(name) double* name = emulated::dynamic_memory
#define SHUFFLE_XOR(v, mask) emulated::shuffle((v), mask, __LINE__)
#define __syncthreads() emulated::wait(emulated::BLOCK, __LINE__)

struct uint3 { unsigned x, y, z; };
static uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {
enum Waiting { NOTHING, BLOCK, WARP, DONE };
struct Fiber { void* stack_pointer; Waiting waiting; int line; double slot; bool spoke; };

static double* dynamic_memory;
static std::vector<Fiber> fibers;
static std::vector<char> stacks, memory;
static void* scheduler;
static int current;
static bool in_fibers;
static char failure[200];
static const size_t STACK = 1 << 16;

#if defined(__x86_64__)
// Saves what a called function must keep, and goes on where the other fiber did the same.
extern "C" void emulated_switch(void** save, void* to) __attribute__((visibility("hidden")));
asm(".text\n.hidden emulated_switch\n.globl emulated_switch\nemulated_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");
inline void* fresh(char* top, void (*start)()) {
  void** at = (void**)((uintptr_t)top & ~(uintptr_t)63);
  *--at = 0;  // where a call would have left its return address: the stack is aligned as functions expect it
  *--at = (void*)start;
  for (int i = 0; i < 6; i++) *--at = 0;
  return at;
}
#else
#error "the emulator's fibers are written for x86-64"
#endif

static void (*body)(void*);
static void* body_arguments;

static void place(int thread) {
  threadIdx.x = thread % blockDim.x;
  threadIdx.y = thread / blockDim.x % blockDim.y;
  threadIdx.z = thread / (blockDim.x * blockDim.y);
  current = thread;
}

static void start() {
  body(body_arguments);
  fibers[current].waiting = DONE;
  emulated_switch(&fibers[current].stack_pointer, scheduler);
  abort();
}

inline void wait(Waiting how, int line) {
  if (!in_fibers) {
    fprintf(stderr, "emulator: a kernel without barriers waits\n");
    abort();
  }
  Fiber& me = fibers[current];
  me.waiting = how;
  me.line = line;
  int self = current;
  emulated_switch(&me.stack_pointer, scheduler);
  place(self);
}

template <class V> inline V shuffle(V v, int mask, int line) {
  static_assert(sizeof(V) <= sizeof(double), "a shuffle moves 8 bytes at most");
  int partner = (current & ~31) | ((current & 31) ^ mask);
  memcpy(&fibers[current].slot, &v, sizeof v);
  wait(WARP, line);
  if (partner >= (int)fibers.size() || fibers[partner].waiting == DONE)
    snprintf(failure, sizeof failure, "line %d: a shuffle with a thread that has left", line);
  else
    memcpy(&v, &fibers[partner].slot, sizeof v);
  wait(WARP, line);
  return v;
}

// Lets go on whoever waits for threads [from, to), when all of them that are left wait in one place.
inline bool release(int from, int to, Waiting how) {
  int line = -1, count = 0;
  for (int i = from; i < to; i++) {
    if (fibers[i].waiting == DONE) continue;
    if (fibers[i].waiting != how) return false;
    if (line >= 0 && fibers[i].line != line) {
      snprintf(failure, sizeof failure, "threads of a block wait at lines %d and %d", line, fibers[i].line);
      return false;
    }
    line = fibers[i].line;
    count++;
  }
  for (int i = from; i < to; i++)
    if (fibers[i].waiting == how) fibers[i].waiting = NOTHING;
  return count > 0;
}

inline bool block(int threads, bool backwards) {
  fibers.assign(threads, Fiber());
  if (stacks.size() < threads * STACK) stacks.resize(threads * STACK);
  for (int i = 0; i < threads; i++) fibers[i].stack_pointer = fresh(stacks.data() + (i + 1) * STACK, start);
  for (;;) {
    bool ran = false, left = false;
    for (int n = 0; n < threads; n++) {
      int i = backwards ? threads - 1 - n : n;
      if (fibers[i].waiting != NOTHING) continue;
      place(i);
      emulated_switch(&scheduler, fibers[i].stack_pointer);
      ran = true;
      if (failure[0]) return false;
    }
    bool released = release(0, threads, BLOCK);
    for (int i = 0; i < threads && !failure[0]; i += 32)
      released |= release(i, i + 32 < threads ? i + 32 : threads, WARP);
    if (failure[0]) return false;
    for (int i = 0; i < threads; i++) left |= fibers[i].waiting != DONE;
    if (!left) return true;
    if (!ran && !released) {
      snprintf(failure, sizeof failure, "the threads of a block wait for each other in different places");
      return false;
    }
  }
}

template <class F, class Tuple, size_t... I> inline void apply(F f, Tuple& t, std::index_sequence<I...>) { f(std::get<I>(t)...); }

// dims: grid, block, dynamic shared bytes, 1 for threads in reverse order, 1 for fibers.
template <class... P>
const char* launch(void (*f)(P...), const long long* dims, void** values, const long long* sizes, int count) {
  using Values = std::tuple<P...>;
  const long long wanted[] = {(long long)sizeof(P)..., 0};
  failure[0] = 0;
  if (count != (int)sizeof...(P)) {
    snprintf(failure, sizeof failure, "%d arguments for %d parameters", count, (int)sizeof...(P));
    return failure;
  }
  for (int i = 0; i < count; i++)
    if (sizes[i] != wanted[i]) {
      snprintf(failure, sizeof failure, "argument %d has %lld bytes, the parameter %lld", i, sizes[i], wanted[i]);
      return failure;
    }
  int at = 0;
  (void)at;
  static Values* given;
  Values held{(*(P*)values[at++])...};
  given = &held;
  static void (*function)(P...);
  function = f;
  body = [](void*) {
    Values mine = *given;
    emulated::apply(function, mine, std::index_sequence_for<P...>());
  };
  gridDim = {(unsigned)dims[0], (unsigned)dims[1], (unsigned)dims[2]};
  blockDim = {(unsigned)dims[3], (unsigned)dims[4], (unsigned)dims[5]};
  int threads = (int)(dims[3] * dims[4] * dims[5]);
  if (threads < 1 || threads > 1024 || dims[0] < 1 || dims[1] < 1 || dims[2] < 1 || dims[1] > 65535 || dims[2] > 65535 ||
      dims[6] > 49152) {
    snprintf(failure, sizeof failure, "a launch of %lld x %lld x %lld blocks of %d threads with %lld bytes", dims[0], dims[1],
             dims[2], threads, dims[6]);
    return failure;
  }
  memory.resize(dims[6] + 64);
  dynamic_memory = (double*)(((uintptr_t)memory.data() + 15) & ~(uintptr_t)15);
  in_fibers = dims[8] != 0;
  for (blockIdx.z = 0; blockIdx.z < gridDim.z; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++)
      for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++) {
        memset(memory.data(), 0xff, memory.size());  // nan: shared memory comes with anything in it
        if (in_fibers) {
          if (!block(threads, dims[7] != 0)) return failure;
        } else {
          for (int i = 0; i < threads; i++) {
            place(dims[7] ? threads - 1 - i : i);
            body(nullptr);
          }
        }
      }
  return nullptr;
}
}  // namespace emulated

// -- what kernels expect of a device's language -----------------------------------------------------------------

static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float rsqrt(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }

template <class V> static inline V emulated_add(V* at, V v) { V old = *at; *at = old + v; return old; }
static inline int atomicAdd(int* at, int v) { return emulated_add(at, v); }
static inline unsigned atomicAdd(unsigned* at, unsigned v) { return emulated_add(at, v); }
static inline unsigned long long atomicAdd(unsigned long long* at, unsigned long long v) { return emulated_add(at, v); }
static inline float atomicAdd(float* at, float v) { return emulated_add(at, v); }
static inline double atomicAdd(double* at, double v) { return emulated_add(at, v); }
template <class V> static inline V atomicCAS(V* at, V was, V to) { V old = *at; if (old == was) *at = to; return old; }
template <class V> static inline V atomicExch(V* at, V to) { V old = *at; *at = to; return old; }

template <class To, class From> static inline To emulated_bits(From x) {
  static_assert(sizeof(To) == sizeof(From), "bits of another size");
  To y;
  memcpy(&y, &x, sizeof y);
  return y;
}
static inline unsigned __float_as_uint(float x) { return emulated_bits<unsigned>(x); }
static inline int __float_as_int(float x) { return emulated_bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return emulated_bits<float>(x); }
static inline float __int_as_float(int x) { return emulated_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return emulated_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return emulated_bits<double>(x); }

// -- half precision, with the processor's own arithmetic of single precision --------------------------------------

static inline float emulated_half_to_float(unsigned short h) {
  unsigned sign = (unsigned)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, fraction = h & 1023u;
  if (exponent == 31) return emulated_bits<float>(sign | 0x7f800000u | (fraction << 13));
  if (exponent == 0) {
    float tiny = ldexpf((float)fraction, -24);
    return sign ? -tiny : tiny;
  }
  return emulated_bits<float>(sign | ((exponent + 112u) << 23) | (fraction << 13));
}

static inline unsigned short emulated_double_to_half(double x) {
  unsigned short sign = signbit(x) ? 0x8000u : 0u;
  double a = fabs(x);
  if (a != a) return sign | 0x7e00u;
  if (a >= 65520.0) return sign | 0x7c00u;
  int exponent;
  frexp(a, &exponent);
  int step = exponent - 11 < -24 ? -24 : exponent - 11;  // of the last bit
  double units = nearbyint(ldexp(a, -step));
  if (units == 0) return sign;
  frexp(ldexp(units, step), &exponent);
  if (exponent - 1 < -14) return sign | (unsigned short)ldexp(units, step + 24);
  return sign | (unsigned short)(((unsigned)(exponent - 1 + 15) << 10) + ((unsigned)ldexp(units, step - (exponent - 11)) & 1023u));
}
static inline unsigned short emulated_float_to_half(float x) { return emulated_double_to_half(x); }
