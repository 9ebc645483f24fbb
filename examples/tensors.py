"""Tensors and gradients: what a first hour with mlcore looks like."""

import numpy as np

import mlcore as ml

x = ml.asarray(
    [[1.0, 2.0], [3.0, 4.0]], dtype=ml.float32, requires_grad=True
)  # ml.tensor is the same function
y = ml.sum(
    ml.exp(x) @ x.mT, axis=-1
)  # functions and methods carry Array API names: axis, keepdims, permute_dims
y.sum().backward()
print(x.grad.shape, x.dtype, x.device)  # (2, 2), float32, cpu
print(np.asarray(x))  # to NumPy, zero-copy where legal
with ml.no_grad():
    x -= 0.1 * x.grad  # the object x takes a new value; no other tensor changes
x[0, 1:] = 0.0
assert x.tolist()[0][1] == 0.0

f = lambda v: (v**3).sum()  # noqa: E731
first = ml.grad(f)(x)
second = ml.grad(lambda v: ml.grad(f)(v).sum())(x)  # any order
assert np.allclose(np.asarray(first), 3 * np.asarray(x) ** 2)
assert np.allclose(np.asarray(second), 6 * np.asarray(x))
value, grads = ml.value_and_grad(f)(x)
print(value.item(), grads.tolist())

ml.manual_seed(0)
print(ml.random.normal((3,)))
g = ml.random.Generator(7)
print(ml.random.uniform((2, 3), generator=g))

print(ml.devices())  # what is usable, fastest first, with the reason for the order
print(ml.default_device())  # chosen by MLCORE_DEVICE, else by measurement
x = ml.ones((2, 3), device="reference")
x = x.to(ml.default_device())
x = x.to_device("reference")
with ml.device("reference"):
    z = ml.zeros((3,))
assert str(z.device) == "reference"
print(ml.explain_device())
