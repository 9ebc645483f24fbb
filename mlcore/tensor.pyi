# Written by `make generate` (mlcore/ops/stubgen.py) from the operations' declarations. Do not edit.

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, Self, TypeAlias
import numpy as np
from mlcore.backends.protocol import Device
from mlcore.dtypes import DType

Number: TypeAlias = complex
TensorLike: TypeAlias = "Tensor | complex | np.ndarray[Any, Any]"
Axis: TypeAlias = int | Sequence[int] | None
Axes: TypeAlias = Any
Shape: TypeAlias = int | Sequence[int]
DTypeLike: TypeAlias = DType | str | type | np.dtype[Any] | None
DeviceLike: TypeAlias = Device | str | None

class Node:
    op: Any
    device: Device
    edges: tuple[Any, ...]
    saved: tuple[Any, ...]
    params: tuple[Any, ...]
    shapes: tuple[Any, ...] | None
    out: Any
    extra: tuple[Any, ...] | None
    where: Any
    hooks: dict[Any, Any] | None
    retains: Any
    checkpoint: Any
    freed: bool
    serial: int

class TensorBase:
    array: Any
    device: Device
    dtype: DType
    shape: tuple[int, ...]
    node: Node | None
    requires_grad: bool
    _grad: Any
    _hooks: Any
    @property
    def grad(self) -> Tensor | None: ...
    @grad.setter
    def grad(self, value: Tensor | None) -> None: ...

class AfterGradient:
    hook: Callable[..., Any]
    def __init__(self, hook: Callable[..., Any]) -> None: ...

class HookHandle:
    hooks: dict[Any, Any]
    def __init__(self, hooks: dict[Any, Any], hook: Callable[..., Any]) -> None: ...
    def remove(self) -> None: ...
    def __enter__(self) -> HookHandle: ...
    def __exit__(self, *exc: object) -> None: ...

class Tensor(TensorBase):
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def is_leaf(self) -> bool: ...
    @property
    def T(self) -> Tensor: ...
    @property
    def mT(self) -> Tensor: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __int__(self) -> int: ...
    def __float__(self) -> float: ...
    def __complex__(self) -> complex: ...
    def __index__(self) -> int: ...
    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType: ...
    def __iter__(self) -> Iterator[Tensor]: ...
    def __contains__(self, value: TensorLike) -> bool: ...
    def __dlpack__(self, *, stream: Any = None, max_version: tuple[int, int] | None = None, dl_device: tuple[Any, int] | None = None, copy: bool | None = None) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]: ...
    def __getitem__(self, index: Any) -> Tensor: ...
    def __setitem__(self, index: Any, value: TensorLike) -> None: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: dict[int, Any]) -> Self: ...
    def numpy(self) -> np.ndarray[Any, Any]: ...
    def item(self) -> Any: ...
    def tolist(self) -> Any: ...
    def detach(self) -> Tensor: ...
    def requires_grad_(self, flag: bool = True) -> Self: ...
    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> HookHandle: ...
    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], Any]) -> HookHandle: ...
    def retain_grad(self) -> None: ...
    def rebind(self, other: Tensor) -> Self: ...
    def backward(self, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False) -> None: ...
    def to(self, *targets: Any, device: DeviceLike = None, dtype: DTypeLike = None, copy: bool = False) -> Tensor: ...
    def to_device(self, device: DeviceLike, /, *, stream: Any = None) -> Tensor: ...
    def reshape(self, *shape: Any) -> Tensor: ...
    def permute_dims(self, *axes: Any) -> Tensor: ...
    def transpose(self, *axes: Any) -> Tensor: ...
    def astype(self, dtype: DTypeLike, *, copy: bool = True) -> Tensor:
        """The values of `x` as another dtype."""
    def add(self, x2: TensorLike, /) -> Tensor:
        """Sum of `x1` and `x2`."""
    def __add__(self, other: TensorLike) -> Tensor: ...
    def __radd__(self, other: TensorLike) -> Tensor: ...
    def subtract(self, x2: TensorLike, /) -> Tensor:
        """Difference `x1 - x2`."""
    def __sub__(self, other: TensorLike) -> Tensor: ...
    def __rsub__(self, other: TensorLike) -> Tensor: ...
    def multiply(self, x2: TensorLike, /) -> Tensor:
        """Product of `x1` and `x2`."""
    def __mul__(self, other: TensorLike) -> Tensor: ...
    def __rmul__(self, other: TensorLike) -> Tensor: ...
    def divide(self, x2: TensorLike, /) -> Tensor:
        """Quotient `x1 / x2`; integers divide as floats."""
    def __truediv__(self, other: TensorLike) -> Tensor: ...
    def __rtruediv__(self, other: TensorLike) -> Tensor: ...
    def floor_divide(self, x2: TensorLike, /) -> Tensor:
        """Quotient rounded down. Integer division by zero raises DivisionError."""
    def __floordiv__(self, other: TensorLike) -> Tensor: ...
    def __rfloordiv__(self, other: TensorLike) -> Tensor: ...
    def remainder(self, x2: TensorLike, /) -> Tensor:
        """Remainder of `floor_divide`, with the sign of `x2`. Integer division by zero raises DivisionError."""
    def __mod__(self, other: TensorLike) -> Tensor: ...
    def __rmod__(self, other: TensorLike) -> Tensor: ...
    def pow(self, x2: TensorLike, /) -> Tensor:
        """`x1` to the power `x2`. Integers to negative powers raise ArgumentError."""
    def __pow__(self, other: TensorLike) -> Tensor: ...
    def __rpow__(self, other: TensorLike) -> Tensor: ...
    def maximum(self, x2: TensorLike, /) -> Tensor:
        """Larger of `x1` and `x2`; nan if either is."""
    def minimum(self, x2: TensorLike, /) -> Tensor:
        """Smaller of `x1` and `x2`; nan if either is."""
    def atan2(self, x2: TensorLike, /) -> Tensor:
        """Angle of the point (`x2`, `x1`), in radians from -pi to pi."""
    def hypot(self, x2: TensorLike, /) -> Tensor:
        """Length of the hypotenuse, `sqrt(x1**2 + x2**2)` without overflow."""
    def logaddexp(self, x2: TensorLike, /) -> Tensor:
        """`log(exp(x1) + exp(x2))` without overflow."""
    def copysign(self, x2: TensorLike, /) -> Tensor:
        """Magnitude of `x1` with the sign of `x2`."""
    def nextafter(self, x2: TensorLike, /) -> Tensor:
        """The next representable value after `x1` in the direction of `x2`."""
    def positive(self) -> Tensor:
        """`x` itself."""
    def __pos__(self) -> Tensor: ...
    def negative(self) -> Tensor:
        """`-x`."""
    def __neg__(self) -> Tensor: ...
    def abs(self) -> Tensor:
        """Magnitude of `x`."""
    def __abs__(self) -> Tensor: ...
    def sign(self) -> Tensor:
        """-1, 0 or 1; `x / |x|` for complex; nan for nan."""
    def signbit(self) -> Tensor:
        """Whether the sign bit is set, also of -0.0."""
    def reciprocal(self) -> Tensor:
        """`1 / x`."""
    def square(self) -> Tensor:
        """`x * x`."""
    def floor(self) -> Tensor:
        """Rounded down."""
    def ceil(self) -> Tensor:
        """Rounded up."""
    def trunc(self) -> Tensor:
        """Rounded towards zero."""
    def round(self) -> Tensor:
        """Rounded to the nearest integer, halves to even; complex numbers part by part."""
    def imag(self) -> Tensor:
        """Imaginary part of a complex tensor."""
    def conj(self) -> Tensor:
        """Complex conjugate; `x` itself where real."""
    def exp(self) -> Tensor:
        """`e**x`."""
    def expm1(self) -> Tensor:
        """`e**x - 1`, exact near 0."""
    def log(self) -> Tensor:
        """Natural logarithm."""
    def log1p(self) -> Tensor:
        """`log(1 + x)`, exact near 0."""
    def log2(self) -> Tensor:
        """Logarithm to base 2."""
    def log10(self) -> Tensor:
        """Logarithm to base 10."""
    def sqrt(self) -> Tensor:
        """Square root."""
    def rsqrt(self) -> Tensor:
        """`1 / sqrt(x)`."""
    def sin(self) -> Tensor:
        """Sine of radians."""
    def cos(self) -> Tensor:
        """Cosine of radians."""
    def tan(self) -> Tensor:
        """Tangent of radians."""
    def asin(self) -> Tensor:
        """Inverse sine, in radians."""
    def acos(self) -> Tensor:
        """Inverse cosine, in radians."""
    def atan(self) -> Tensor:
        """Inverse tangent, in radians."""
    def sinh(self) -> Tensor:
        """Hyperbolic sine."""
    def cosh(self) -> Tensor:
        """Hyperbolic cosine."""
    def tanh(self) -> Tensor:
        """Hyperbolic tangent."""
    def asinh(self) -> Tensor:
        """Inverse hyperbolic sine."""
    def acosh(self) -> Tensor:
        """Inverse hyperbolic cosine."""
    def atanh(self) -> Tensor:
        """Inverse hyperbolic tangent."""
    def erf(self) -> Tensor:
        """Error function, `2/sqrt(pi)` times the integral of `exp(-t*t)` from 0 to `x`."""
    def equal(self, x2: TensorLike, /) -> Tensor:
        """Whether `x1 == x2`."""
    def __eq__(self, other: TensorLike) -> Tensor: ...  # type: ignore[override]
    def not_equal(self, x2: TensorLike, /) -> Tensor:
        """Whether `x1 != x2`."""
    def __ne__(self, other: TensorLike) -> Tensor: ...  # type: ignore[override]
    def less(self, x2: TensorLike, /) -> Tensor:
        """Whether `x1 < x2`."""
    def __lt__(self, other: TensorLike) -> Tensor: ...
    def less_equal(self, x2: TensorLike, /) -> Tensor:
        """Whether `x1 <= x2`."""
    def __le__(self, other: TensorLike) -> Tensor: ...
    def greater(self, x2: TensorLike, /) -> Tensor:
        """Whether `x1 > x2`."""
    def __gt__(self, other: TensorLike) -> Tensor: ...
    def greater_equal(self, x2: TensorLike, /) -> Tensor:
        """Whether `x1 >= x2`."""
    def __ge__(self, other: TensorLike) -> Tensor: ...
    def logical_and(self, x2: TensorLike, /) -> Tensor:
        """Whether both are true (not zero)."""
    def logical_or(self, x2: TensorLike, /) -> Tensor:
        """Whether either is true (not zero)."""
    def logical_xor(self, x2: TensorLike, /) -> Tensor:
        """Whether exactly one is true (not zero)."""
    def logical_not(self) -> Tensor:
        """Whether `x` is false (zero)."""
    def bitwise_and(self, x2: TensorLike, /) -> Tensor:
        """Bitwise and."""
    def __and__(self, other: TensorLike) -> Tensor: ...
    def __rand__(self, other: TensorLike) -> Tensor: ...
    def bitwise_or(self, x2: TensorLike, /) -> Tensor:
        """Bitwise or."""
    def __or__(self, other: TensorLike) -> Tensor: ...
    def __ror__(self, other: TensorLike) -> Tensor: ...
    def bitwise_xor(self, x2: TensorLike, /) -> Tensor:
        """Bitwise exclusive or."""
    def __xor__(self, other: TensorLike) -> Tensor: ...
    def __rxor__(self, other: TensorLike) -> Tensor: ...
    def bitwise_left_shift(self, x2: TensorLike, /) -> Tensor:
        """Bits of `x1` shifted left by `x2`; by the width or more, or by less than 0, gives 0."""
    def __lshift__(self, other: TensorLike) -> Tensor: ...
    def __rlshift__(self, other: TensorLike) -> Tensor: ...
    def bitwise_right_shift(self, x2: TensorLike, /) -> Tensor:
        """Bits of `x1` shifted right by `x2`, keeping the sign; less than 0 counts as the width or more."""
    def __rshift__(self, other: TensorLike) -> Tensor: ...
    def __rrshift__(self, other: TensorLike) -> Tensor: ...
    def bitwise_invert(self) -> Tensor:
        """All bits flipped; logical not for bool."""
    def __invert__(self) -> Tensor: ...
    def isfinite(self) -> Tensor:
        """Neither infinite nor nan."""
    def isinf(self) -> Tensor:
        """Infinite."""
    def isnan(self) -> Tensor:
        """Not a number."""
    def relu(self) -> Tensor:
        """`max(x, 0)`; nan stays nan."""
    def sigmoid(self) -> Tensor:
        """`1 / (1 + exp(-x))` without overflow."""
    def silu(self) -> Tensor:
        """`x * sigmoid(x)`, also called swish (Elfwing et al. 2017)."""
    def softplus(self) -> Tensor:
        """`log(1 + exp(x))` without overflow."""
    def gelu(self, approximate: str = 'none') -> Tensor:
        """Gaussian error linear unit, `x * Phi(x)` (Hendrycks and Gimpel 2016); 'tanh' is its usual approximation."""
    def broadcast_to(self, shape: Shape) -> Tensor:
        """`x` repeated along dimensions of size 1 and new leading ones, to `shape`."""
    def max(self, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Largest element over `axis`; nan if any is."""
    def min(self, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Smallest element over `axis`; nan if any is."""
    def any(self, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether any element over `axis` is true (not zero)."""
    def all(self, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether all elements over `axis` are true (not zero)."""
    def mean(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        """Arithmetic mean over `axis`; nan of nothing."""
    def var(self, axis: Axis = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        """Variance over `axis`; `correction` is taken from the count (1: the unbiased estimate)."""
    def logsumexp(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        """`log(sum(exp(x)))` over `axis` without overflow; -inf of nothing or of -inf only."""
    def softmax(self, *, axis: Axis = -1) -> Tensor:
        """`exp(x) / sum(exp(x))` along `axis`, without overflow. A row of -inf only gives zeros."""
    def log_softmax(self, *, axis: Axis = -1) -> Tensor:
        """`x - logsumexp(x)` along `axis`."""
    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """`x` held between `min` and `max`: numbers, or tensors that broadcast; None leaves that side open."""
    def real(self) -> Tensor:
        """Real part of a complex tensor; the same values where `x` is real."""
    def expand_dims(self, axis: Axis = 0) -> Tensor:
        """`x` with a new dimension of size 1 at `axis` (an int, or a tuple of places in the result)."""
    def squeeze(self, axis: Axis = None) -> Tensor:
        """`x` without the dimensions `axis`, which must have size 1 (None: all of size 1)."""
    def flip(self, *, axis: Axis = None) -> Tensor:
        """`x` in reverse order along `axis` (None: all)."""
    def swapaxes(self, axis1: int, axis2: int, /) -> Tensor:
        """`x` with two dimensions exchanged."""
    def matrix_transpose(self) -> Tensor:
        """The last two dimensions exchanged."""
    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Dimensions `start_dim` to `end_dim` merged into one."""
    def tril(self, *, k: int = 0) -> Tensor:
        """The lower triangle of the last two dimensions, up to the `k`-th diagonal; zeros above."""
    def triu(self, *, k: int = 0) -> Tensor:
        """The upper triangle of the last two dimensions, from the `k`-th diagonal; zeros below."""
    def sum(self, axis: Axis = None, *, dtype: DTypeLike = None, keepdims: bool = False) -> Tensor:
        """Sum over `axis` (an int, a tuple, or None for all); of nothing it is 0. Small integers are summed in 64 bits."""
    def prod(self, axis: Axis = None, *, dtype: DTypeLike = None, keepdims: bool = False) -> Tensor:
        """Product over `axis`; of nothing it is 1. Small integers are multiplied in 64 bits."""
    def std(self, axis: Axis = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        """Standard deviation over `axis`: the square root of `var`."""
    def argmax(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        """Index of the first largest element along `axis` (None: of the flattened tensor), as int64."""
    def argmin(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        """Index of the first smallest element along `axis` (None: of the flattened tensor), as int64."""
    def cumulative_sum(self, *, axis: Axis = None, dtype: DTypeLike = None, include_initial: bool = False) -> Tensor:
        """Running sum along `axis` (needed beyond one dimension); `include_initial` starts it with 0."""
    def cumulative_prod(self, *, axis: Axis = None, dtype: DTypeLike = None, include_initial: bool = False) -> Tensor:
        """Running product along `axis` (needed beyond one dimension); `include_initial` starts it with 1."""
    def norm(self, ord: float = 2, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Vector norm of order `ord` (1, 2, inf or any p > 0) over `axis` (None: all)."""
    def nonzero(self) -> tuple[Tensor, ...]:
        """The indices of the elements that are not zero, as one int64 tensor per dimension."""
    def take(self, indices: Tensor, /, *, axis: Axis = None) -> Tensor:
        """Slices of `x` along `axis` (needed beyond one dimension) at integer `indices` of any shape."""
    def take_along_axis(self, indices: Tensor, /, *, axis: Axis = -1) -> Tensor:
        """One element of `x` for each of `indices`, which match `x` in every dimension but `axis` (or broadcast)."""
    def roll(self, shift: Any, *, axis: Axis = None) -> Tensor:
        """Elements moved by `shift` places along `axis`, those pushed out coming in at the other end."""
    def unstack(self, *, axis: Axis = 0) -> tuple[Tensor, ...]:
        """The slices of `x` along `axis`, without that dimension, as a tuple."""
    def split(self, sizes: Shape, *, axis: Axis = 0) -> tuple[Tensor, ...]:
        """`x` cut along `axis` into pieces of `sizes` (an int: equal pieces of that size, the last may be smaller)."""
    def moveaxis(self, source: Any, destination: Any, /) -> Tensor:
        """`x` with the dimensions `source` moved to `destination`, the others keeping their order."""
    def tile(self, repetitions: Any, /) -> Tensor:
        """`x` repeated `repetitions` times along each dimension."""
    def repeat(self, repeats: Any, /, *, axis: Axis = None) -> Tensor:
        """Each element repeated `repeats` times (an int, or a tensor of one for each) along `axis` (None: flattened)."""
    def diff(self, *, axis: Axis = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Tensor:
        """Differences of neighbours along `axis`, `n` times over; `prepend` and `append` are joined to `x` first."""
    def matmul(self, x2: Tensor, /, *, dtype: DTypeLike = None) -> Tensor:
        """Matrix product; a 1-d operand is a row (left) or a column (right), other dimensions broadcast."""
    def __matmul__(self, other: TensorLike) -> Tensor: ...
    def __rmatmul__(self, other: TensorLike) -> Tensor: ...
    def argsort(self, *, axis: Axis = -1, descending: bool = False, stable: bool = True) -> Tensor:
        """Indices that sort `x` along `axis`; always stable."""
    def sort(self, *, axis: Axis = -1, descending: bool = False, stable: bool = True) -> Tensor:
        """`x` in order along `axis`; always stable."""
    def topk(self, k: int, /, *, axis: Axis = -1, largest: bool = True, sorted: bool = True) -> tuple[Tensor, Tensor]:
        """The `k` largest (or smallest) elements along `axis` and their indices; always in order."""
    def count_nonzero(self, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """How many elements over `axis` are not zero, as int64; nan counts."""
    def __iadd__(self, other: TensorLike) -> Self: ...
    def __iand__(self, other: TensorLike) -> Self: ...
    def __ifloordiv__(self, other: TensorLike) -> Self: ...
    def __ilshift__(self, other: TensorLike) -> Self: ...
    def __imatmul__(self, other: TensorLike) -> Self: ...
    def __imod__(self, other: TensorLike) -> Self: ...
    def __imul__(self, other: TensorLike) -> Self: ...
    def __ior__(self, other: TensorLike) -> Self: ...
    def __ipow__(self, other: TensorLike) -> Self: ...
    def __irshift__(self, other: TensorLike) -> Self: ...
    def __isub__(self, other: TensorLike) -> Self: ...
    def __itruediv__(self, other: TensorLike) -> Self: ...
    def __ixor__(self, other: TensorLike) -> Self: ...
def new_node(op: Any, device: Device, edges: tuple[Any, ...], saved: tuple[Any, ...], params: tuple[Any, ...]) -> Node: ...
def assign(tensor: TensorBase, array: Any, device: Device, dtype: DType, shape: tuple[int, ...], node: Node | None, requires_grad: bool) -> None: ...
def wrap(array: Any, device: Device, dtype: DType, shape: tuple[int, ...]) -> Tensor: ...
def wrap_recorded(array: Any, device: Device, dtype: DType, shape: tuple[int, ...], node: Node) -> Tensor: ...
