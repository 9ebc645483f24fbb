// Optimizer steps over all parameters in one launch. `table` has a line for each piece of PIECE elements:
// the addresses of p, g, the states, the new p and the new states, then where the piece begins and ends.

#define PIECE 4096

INLINE const T* source(const i64* line, int column) { return (const T*)line[column]; }
INLINE T* target(const i64* line, int column) { return (T*)line[column]; }

#define EACH_OF_PIECE(width)                                  \
  const i64* line = table + (i64)blockIdx.x * (width);        \
  for (i64 i = line[(width) - 2] + threadIdx.x; i < line[(width) - 1]; i += blockDim.x)

KERNEL sgd_step(const i64* __restrict__ table, double lr, double decay) {
  EACH_OF_PIECE(5) {
    A p = wide(source(line, 0)[i]), g = wide(source(line, 1)[i]);
    if (decay != 0) g += p * (A)decay;
    target(line, 2)[i] = narrow(p - g * (A)lr);
  }
}

KERNEL sgd_momentum_step(const i64* __restrict__ table, double lr, double momentum, double dampening, double decay,
                         int nesterov, int first) {
  EACH_OF_PIECE(7) {
    A p = wide(source(line, 0)[i]), g = wide(source(line, 1)[i]);
    if (decay != 0) g += p * (A)decay;
    A b = first ? g : wide(source(line, 2)[i]) * (A)momentum + g * (A)(1 - dampening);
    A step = nesterov ? g + b * (A)momentum : b;
    target(line, 3)[i] = narrow(p - step * (A)lr);
    target(line, 4)[i] = narrow(b);
  }
}

// root = sqrt(1 - beta2^step), rate = lr / (1 - beta1^step): once on the host, not for each element.
KERNEL adam_step(const i64* __restrict__ table, double lr, double beta1, double beta2, double eps, double decay,
                 int decoupled, double root, double rate) {
  EACH_OF_PIECE(9) {
    A p = wide(source(line, 0)[i]), g = wide(source(line, 1)[i]);
    if (decay != 0) {
      if (decoupled) p *= (A)(1 - lr * decay);
      else g += p * (A)decay;
    }
    A m = wide(source(line, 2)[i]) * (A)beta1 + g * (A)(1 - beta1);
    A v = wide(source(line, 3)[i]) * (A)beta2 + g * g * (A)(1 - beta2);
    A scale = sqrt(v) / (A)root + (A)eps;
    target(line, 4)[i] = narrow(p - m * (A)rate / scale);
    target(line, 5)[i] = narrow(m);
    target(line, 6)[i] = narrow(v);
  }
}
