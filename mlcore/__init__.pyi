# Written by `make generate` (mlcore/ops/stubgen.py) from the operations' declarations. Do not edit.

import builtins
from collections.abc import Sequence
from typing import Any, TypeAlias

from mlcore import autograd as autograd, cli as cli, data as data, errors as errors, func as func, io as io
from mlcore import nn as nn, optim as optim, testing as testing, train as train
from mlcore._version import __version__ as __version__
from mlcore.autograd import enable_grad as enable_grad, no_grad as no_grad
from mlcore.checkpointing import checkpoint as checkpoint
from mlcore.backends.detect import default_device as default_device, device as device, devices as devices
from mlcore.backends.detect import empty_cache as empty_cache, explain_device as explain_device
from mlcore.backends.protocol import Device as Device
from mlcore.dispatch import is_recording as is_recording
from mlcore.choosing import best_device as best_device
from mlcore.dtypes import DType as DType, int8 as int8, int16 as int16, int32 as int32, int64 as int64, uint8 as uint8, uint16 as uint16, uint32 as uint32, uint64 as uint64, float16 as float16, bfloat16 as bfloat16, float32 as float32, float64 as float64, complex64 as complex64, complex128 as complex128
from mlcore.dtypes import bool_ as bool, default_float as default_float, finfo as finfo, iinfo as iinfo
from mlcore.dtypes import isdtype as isdtype, set_default_dtype as set_default_dtype
from mlcore.errors import MlcoreError as MlcoreError
from mlcore.func import grad as grad, value_and_grad as value_and_grad
from mlcore.inspection import __array_api_version__ as __array_api_version__, __array_namespace_info__ as __array_namespace_info__
from mlcore.inspection import broadcast_shapes as broadcast_shapes, can_cast as can_cast, result_type as result_type
from mlcore.hub import create_model as create_model, list_models as list_models
from mlcore.io import load as load, save as save
from mlcore.ops import random as random, registry as registry
from mlcore.ops.creation import asarray as asarray
from mlcore.ops.random import Generator as Generator, manual_seed as manual_seed
from mlcore.ops.sets import UniqueAll, UniqueCounts, UniqueInverse
from mlcore.plugin.discovery import backends as backends, domains as domains
from mlcore.tensor import Axes, Axis, DeviceLike, DTypeLike, Shape, Tensor as Tensor, TensorLike

_bool: TypeAlias = builtins.bool
tensor = asarray
pi: float
e: float
inf: float
nan: float
newaxis: None

def add(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Sum of `x1` and `x2`."""
def subtract(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Difference `x1 - x2`."""
def multiply(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Product of `x1` and `x2`."""
def divide(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Quotient `x1 / x2`; integers divide as floats."""
def floor_divide(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Quotient rounded down. Integer division by zero raises DivisionError."""
def remainder(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Remainder of `floor_divide`, with the sign of `x2`. Integer division by zero raises DivisionError."""
def pow(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """`x1` to the power `x2`. Integers to negative powers raise ArgumentError."""
def maximum(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Larger of `x1` and `x2`; nan if either is."""
def minimum(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Smaller of `x1` and `x2`; nan if either is."""
def atan2(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Angle of the point (`x2`, `x1`), in radians from -pi to pi."""
def hypot(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Length of the hypotenuse, `sqrt(x1**2 + x2**2)` without overflow."""
def logaddexp(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """`log(exp(x1) + exp(x2))` without overflow."""
def copysign(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Magnitude of `x1` with the sign of `x2`."""
def nextafter(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """The next representable value after `x1` in the direction of `x2`."""
def positive(x: TensorLike, /) -> Tensor:
    """`x` itself."""
def negative(x: TensorLike, /) -> Tensor:
    """`-x`."""
def abs(x: TensorLike, /) -> Tensor:
    """Magnitude of `x`."""
def sign(x: TensorLike, /) -> Tensor:
    """-1, 0 or 1; `x / |x|` for complex; nan for nan."""
def signbit(x: TensorLike, /) -> Tensor:
    """Whether the sign bit is set, also of -0.0."""
def reciprocal(x: TensorLike, /) -> Tensor:
    """`1 / x`."""
def square(x: TensorLike, /) -> Tensor:
    """`x * x`."""
def floor(x: TensorLike, /) -> Tensor:
    """Rounded down."""
def ceil(x: TensorLike, /) -> Tensor:
    """Rounded up."""
def trunc(x: TensorLike, /) -> Tensor:
    """Rounded towards zero."""
def round(x: TensorLike, /) -> Tensor:
    """Rounded to the nearest integer, halves to even; complex numbers part by part."""
def imag(x: TensorLike, /) -> Tensor:
    """Imaginary part of a complex tensor."""
def conj(x: TensorLike, /) -> Tensor:
    """Complex conjugate; `x` itself where real."""
def exp(x: TensorLike, /) -> Tensor:
    """`e**x`."""
def expm1(x: TensorLike, /) -> Tensor:
    """`e**x - 1`, exact near 0."""
def log(x: TensorLike, /) -> Tensor:
    """Natural logarithm."""
def log1p(x: TensorLike, /) -> Tensor:
    """`log(1 + x)`, exact near 0."""
def log2(x: TensorLike, /) -> Tensor:
    """Logarithm to base 2."""
def log10(x: TensorLike, /) -> Tensor:
    """Logarithm to base 10."""
def sqrt(x: TensorLike, /) -> Tensor:
    """Square root."""
def rsqrt(x: TensorLike, /) -> Tensor:
    """`1 / sqrt(x)`."""
def sin(x: TensorLike, /) -> Tensor:
    """Sine of radians."""
def cos(x: TensorLike, /) -> Tensor:
    """Cosine of radians."""
def tan(x: TensorLike, /) -> Tensor:
    """Tangent of radians."""
def asin(x: TensorLike, /) -> Tensor:
    """Inverse sine, in radians."""
def acos(x: TensorLike, /) -> Tensor:
    """Inverse cosine, in radians."""
def atan(x: TensorLike, /) -> Tensor:
    """Inverse tangent, in radians."""
def sinh(x: TensorLike, /) -> Tensor:
    """Hyperbolic sine."""
def cosh(x: TensorLike, /) -> Tensor:
    """Hyperbolic cosine."""
def tanh(x: TensorLike, /) -> Tensor:
    """Hyperbolic tangent."""
def asinh(x: TensorLike, /) -> Tensor:
    """Inverse hyperbolic sine."""
def acosh(x: TensorLike, /) -> Tensor:
    """Inverse hyperbolic cosine."""
def atanh(x: TensorLike, /) -> Tensor:
    """Inverse hyperbolic tangent."""
def erf(x: TensorLike, /) -> Tensor:
    """Error function, `2/sqrt(pi)` times the integral of `exp(-t*t)` from 0 to `x`."""
def tanh_grad(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Gradient of tanh from the incoming gradient `x1` and the output `x2`: `x1 * (1 - x2 * x2)`."""
def where(condition: TensorLike, x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """`x1` where `condition` (_bool) is true, `x2` elsewhere; the three broadcast."""
def equal(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Whether `x1 == x2`."""
def not_equal(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Whether `x1 != x2`."""
def less(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Whether `x1 < x2`."""
def less_equal(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Whether `x1 <= x2`."""
def greater(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Whether `x1 > x2`."""
def greater_equal(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Whether `x1 >= x2`."""
def logical_and(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Whether both are true (not zero)."""
def logical_or(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Whether either is true (not zero)."""
def logical_xor(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Whether exactly one is true (not zero)."""
def logical_not(x: TensorLike, /) -> Tensor:
    """Whether `x` is false (zero)."""
def bitwise_and(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Bitwise and."""
def bitwise_or(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Bitwise or."""
def bitwise_xor(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Bitwise exclusive or."""
def bitwise_left_shift(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Bits of `x1` shifted left by `x2`; by the width or more, or by less than 0, gives 0."""
def bitwise_right_shift(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Bits of `x1` shifted right by `x2`, keeping the sign; less than 0 counts as the width or more."""
def bitwise_invert(x: TensorLike, /) -> Tensor:
    """All bits flipped; logical not for _bool."""
def isfinite(x: TensorLike, /) -> Tensor:
    """Neither infinite nor nan."""
def isinf(x: TensorLike, /) -> Tensor:
    """Infinite."""
def isnan(x: TensorLike, /) -> Tensor:
    """Not a number."""
def relu(x: TensorLike, /) -> Tensor:
    """`max(x, 0)`; nan stays nan."""
def relu_grad(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Gradient of relu: `x1` where the output `x2` is positive, else 0."""
def relu6(x: TensorLike, /) -> Tensor:
    """`min(max(x, 0), 6)` (Howard et al. 2017); nan stays nan."""
def relu6_grad(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Gradient of relu6: `x1` where the output `x2` is between 0 and 6, else 0."""
def sigmoid(x: TensorLike, /) -> Tensor:
    """`1 / (1 + exp(-x))` without overflow."""
def sigmoid_grad(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Gradient of sigmoid from its output: `x1 * x2 * (1 - x2)`."""
def silu(x: TensorLike, /) -> Tensor:
    """`x * sigmoid(x)`, also called swish (Elfwing et al. 2017)."""
def silu_grad(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """Gradient of silu from its input `x2`."""
def softplus(x: TensorLike, /) -> Tensor:
    """`log(1 + exp(x))` without overflow."""
def gelu(x: TensorLike, /, approximate: str = 'none') -> Tensor:
    """Gaussian error linear unit, `x * Phi(x)` (Hendrycks and Gimpel 2016); 'tanh' is its usual approximation."""
def reshape(x: Tensor, /, shape: Shape, *, copy: _bool | None = None) -> Tensor:
    """`x` with another shape of as many elements; one dimension may be -1."""
def permute_dims(x: Tensor, /, axes: Axes) -> Tensor:
    """`x` with its dimensions in the order `axes`."""
def broadcast_to(x: Tensor, /, shape: Shape) -> Tensor:
    """`x` repeated along dimensions of size 1 and new leading ones, to `shape`."""
def concat(arrays: Sequence[Tensor], /, *, axis: Axis = 0) -> Tensor:
    """Tensors joined along an existing axis."""
def max(x: Tensor, /, *, axis: Axis = None, keepdims: _bool = False) -> Tensor:
    """Largest element over `axis`; nan if any is."""
def min(x: Tensor, /, *, axis: Axis = None, keepdims: _bool = False) -> Tensor:
    """Smallest element over `axis`; nan if any is."""
def any(x: Tensor, /, *, axis: Axis = None, keepdims: _bool = False) -> Tensor:
    """Whether any element over `axis` is true (not zero)."""
def all(x: Tensor, /, *, axis: Axis = None, keepdims: _bool = False) -> Tensor:
    """Whether all elements over `axis` are true (not zero)."""
def mean(x: Tensor, /, axis: Axis = None, *, keepdims: _bool = False) -> Tensor:
    """Arithmetic mean over `axis`; nan of nothing."""
def var(x: Tensor, /, axis: Axis = None, *, correction: float = 0.0, keepdims: _bool = False) -> Tensor:
    """Variance over `axis`; `correction` is taken from the count (1: the unbiased estimate)."""
def logsumexp(x: Tensor, /, axis: Axis = None, *, keepdims: _bool = False) -> Tensor:
    """`log(sum(exp(x)))` over `axis` without overflow; -inf of nothing or of -inf only."""
def softmax(x: Tensor, /, *, axis: Axis = -1) -> Tensor:
    """`exp(x) / sum(exp(x))` along `axis`, without overflow. A row of -inf only gives zeros."""
def log_softmax(x: Tensor, /, *, axis: Axis = -1) -> Tensor:
    """`x - logsumexp(x)` along `axis`."""
def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """`x` held between `min` and `max`: numbers, or tensors that broadcast; None leaves that side open."""
def real(x: Tensor, /) -> Tensor:
    """Real part of a complex tensor; the same values where `x` is real."""
def expand_dims(x: Tensor, /, axis: Axis = 0) -> Tensor:
    """`x` with a new dimension of size 1 at `axis` (an int, or a tuple of places in the result)."""
def squeeze(x: Tensor, /, axis: Axis = None) -> Tensor:
    """`x` without the dimensions `axis`, which must have size 1 (None: all of size 1)."""
def flip(x: Tensor, /, *, axis: Axis = None) -> Tensor:
    """`x` in reverse order along `axis` (None: all)."""
def stack(arrays: Sequence[Tensor], /, *, axis: Axis = 0) -> Tensor:
    """Tensors of one shape joined along a new axis."""
def swapaxes(x: Tensor, axis1: int, axis2: int, /) -> Tensor:
    """`x` with two dimensions exchanged."""
def matrix_transpose(x: Tensor, /) -> Tensor:
    """The last two dimensions exchanged."""
def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions `start_dim` to `end_dim` merged into one."""
def pad(x: Tensor, pad_width: Any, /, *, value: float = 0) -> Tensor:
    """`x` with `value` around it: `pad_width` is an int, or one (before, after) pair per dimension."""
def full(shape: Shape, fill_value: complex, *, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: _bool = False) -> Tensor:
    """A tensor with every element `fill_value`; the dtype follows the value unless given."""
def zeros(shape: Shape, *, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: _bool = False) -> Tensor:
    """A tensor of zeros."""
def ones(shape: Shape, *, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: _bool = False) -> Tensor:
    """A tensor of ones."""
def empty(shape: Shape, *, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """A tensor whose values nobody should rely on; here zeros, since uninitialised memory hides mistakes."""
def zeros_like(x: Tensor, /, *, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: _bool = False) -> Tensor:
    """Zeros of the shape, dtype and device of `x`."""
def ones_like(x: Tensor, /, *, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: _bool = False) -> Tensor:
    """Ones of the shape, dtype and device of `x`."""
def empty_like(x: Tensor, /, *, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """`empty` of the shape, dtype and device of `x`."""
def full_like(x: Tensor, /, fill_value: complex, *, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """`fill_value` everywhere, in the shape, dtype and device of `x`."""
def arange(start: float, /, stop: float | None = None, step: float = 1, *, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: _bool = False) -> Tensor:
    """Evenly spaced values from `start` (0 when only one is given) up to, not including, `stop`."""
def linspace(start: float, stop: float | None, /, num: int, *, dtype: DTypeLike = None, device: DeviceLike = None, endpoint: _bool = True) -> Tensor:
    """`num` evenly spaced values from `start` to `stop`, including it unless `endpoint` is False."""
def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """Ones on the `k`-th diagonal, zeros elsewhere."""
def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The lower triangle of the last two dimensions, up to the `k`-th diagonal; zeros above."""
def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The upper triangle of the last two dimensions, from the `k`-th diagonal; zeros below."""
def meshgrid(*arrays: Sequence[Tensor], indexing: str = 'xy') -> list[Tensor]:
    """Coordinate tensors of a grid from one-dimensional tensors ('xy': the first two axes exchanged)."""
def sum(x: Tensor, /, axis: Axis = None, *, dtype: DTypeLike = None, keepdims: _bool = False) -> Tensor:
    """Sum over `axis` (an int, a tuple, or None for all); of nothing it is 0. Small integers are summed in 64 bits."""
def prod(x: Tensor, /, axis: Axis = None, *, dtype: DTypeLike = None, keepdims: _bool = False) -> Tensor:
    """Product over `axis`; of nothing it is 1. Small integers are multiplied in 64 bits."""
def std(x: Tensor, /, axis: Axis = None, *, correction: float = 0.0, keepdims: _bool = False) -> Tensor:
    """Standard deviation over `axis`: the square root of `var`."""
def argmax(x: Tensor, /, axis: Axis = None, *, keepdims: _bool = False) -> Tensor:
    """Index of the first largest element along `axis` (None: of the flattened tensor), as int64."""
def argmin(x: Tensor, /, axis: Axis = None, *, keepdims: _bool = False) -> Tensor:
    """Index of the first smallest element along `axis` (None: of the flattened tensor), as int64."""
def cumulative_sum(x: Tensor, /, *, axis: Axis = None, dtype: DTypeLike = None, include_initial: _bool = False) -> Tensor:
    """Running sum along `axis` (needed beyond one dimension); `include_initial` starts it with 0."""
def cumulative_prod(x: Tensor, /, *, axis: Axis = None, dtype: DTypeLike = None, include_initial: _bool = False) -> Tensor:
    """Running product along `axis` (needed beyond one dimension); `include_initial` starts it with 1."""
def norm(x: Tensor, /, ord: float = 2, *, axis: Axis = None, keepdims: _bool = False) -> Tensor:
    """Vector norm of order `ord` (1, 2, inf or any p > 0) over `axis` (None: all)."""
def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """The indices of the elements that are not zero, as one int64 tensor per dimension."""
def take(x: Tensor, indices: Tensor, /, *, axis: Axis = None) -> Tensor:
    """Slices of `x` along `axis` (needed beyond one dimension) at integer `indices` of any shape."""
def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: Axis = -1) -> Tensor:
    """One element of `x` for each of `indices`, which match `x` in every dimension but `axis` (or broadcast)."""
def roll(x: Tensor, /, shift: Any, *, axis: Axis = None) -> Tensor:
    """Elements moved by `shift` places along `axis`, those pushed out coming in at the other end."""
def unstack(x: Tensor, /, *, axis: Axis = 0) -> tuple[Tensor, ...]:
    """The slices of `x` along `axis`, without that dimension, as a tuple."""
def split(x: Tensor, /, sizes: Shape, *, axis: Axis = 0) -> tuple[Tensor, ...]:
    """`x` cut along `axis` into pieces of `sizes` (an int: equal pieces of that size, the last may be smaller)."""
def moveaxis(x: Tensor, source: Any, destination: Any, /) -> Tensor:
    """`x` with the dimensions `source` moved to `destination`, the others keeping their order."""
def broadcast_arrays(*arrays: Sequence[Tensor]) -> list[Tensor]:
    """Tensors broadcast to their common shape."""
def tile(x: Tensor, repetitions: Any, /) -> Tensor:
    """`x` repeated `repetitions` times along each dimension."""
def repeat(x: Tensor, repeats: Any, /, *, axis: Axis = None) -> Tensor:
    """Each element repeated `repeats` times (an int, or a tensor of one for each) along `axis` (None: flattened)."""
def diff(x: Tensor, /, *, axis: Axis = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Tensor:
    """Differences of neighbours along `axis`, `n` times over; `prepend` and `append` are joined to `x` first."""
def matmul(x1: Tensor, x2: Tensor, /, *, dtype: DTypeLike = None) -> Tensor:
    """Matrix product; a 1-d operand is a row (left) or a column (right), other dimensions broadcast."""
def vecdot(x1: Tensor, x2: Tensor, /, *, axis: Axis = -1) -> Tensor:
    """Sum of products along `axis`, the first operand conjugated."""
def tensordot(x1: Tensor, x2: Tensor, /, *, axes: Axes = 2) -> Tensor:
    """Sum of products over several axes: the last `axes` of `x1` with the first of `x2`, or two lists of axes."""
def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """All products of the elements of two 1-d tensors."""
def einsum(subscripts: str, /, *operands: Tensor) -> Tensor:
    """Einstein summation, e.g. ``einsum('bij,bjk->bik', a, b)``; `...` stands for broadcast dimensions."""
def argsort(x: Tensor, /, *, axis: Axis = -1, descending: _bool = False, stable: _bool = True) -> Tensor:
    """Indices that sort `x` along `axis`; always stable."""
def sort(x: Tensor, /, *, axis: Axis = -1, descending: _bool = False, stable: _bool = True) -> Tensor:
    """`x` in order along `axis`; always stable."""
def topk(x: Tensor, k: int, /, *, axis: Axis = -1, largest: _bool = True, sorted: _bool = True) -> tuple[Tensor, Tensor]:
    """The `k` largest (or smallest) elements along `axis` and their indices; always in order."""
def searchsorted(x1: Tensor, x2: Tensor, /, *, side: str = 'left', sorter: Any = None) -> Tensor:
    """Where to insert each of `x2` (a tensor or a number) into the sorted 1-d `x1` to keep it sorted."""
def unique_all(x: Tensor, /) -> UniqueAll:
    """The distinct elements of `x` in ascending order: (values, indices, inverse_indices, counts)."""
def unique_counts(x: Tensor, /) -> UniqueCounts:
    """The distinct elements of `x` in ascending order, and how often each occurs: (values, counts)."""
def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """The distinct elements of `x`, and the place of each element among them: (values, inverse_indices)."""
def unique_values(x: Tensor, /) -> Tensor:
    """The distinct elements of `x` in ascending order."""
def isin(x1: Tensor, x2: Tensor, /, *, invert: _bool = False) -> Tensor:
    """Whether each element of `x1` is among those of `x2` (`invert`: is not); nan never is."""
def count_nonzero(x: Tensor, /, *, axis: Axis = None, keepdims: _bool = False) -> Tensor:
    """How many elements over `axis` are not zero, as int64; nan counts."""
def astype(x: Tensor, dtype: DTypeLike, /, *, copy: _bool = True, device: DeviceLike = None) -> Tensor:
    """The values of `x` as another dtype, and on another `device` if one is given."""
def from_dlpack(x: Tensor, /, *, device: DeviceLike = None, copy: _bool | None = None) -> Tensor:
    """A tensor of the values of an array of another library, sharing its memory where it can."""
