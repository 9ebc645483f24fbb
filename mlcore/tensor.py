"""Tensor: an array of some backend, and its place on the tape.

This file knows devices and dtypes, no operation and no kernel: methods and operators are attached by
`mlcore.ops` from the registry. Its types are fixed in tensor.pxd, from which Cython builds the fast version.
"""

from __future__ import annotations

import numpy as np

from mlcore.errors import ArgumentTypeError, AutogradError, DeviceError, MlcoreError, ShapeError

COMPILED = not __file__.endswith(".py")
_BLANK_NODE = ("shapes", "out", "extra", "where", "hooks", "retains", "checkpoint")


class Node:
    """One recorded operation: where its gradients flow, and what its vjp will read.

    `edges` has one entry per input: another Node, a leaf Tensor, or None. `saved` keeps snapshots of the inputs
    that the vjp names (tensors, or bare arrays where `shapes` says what they are), `out` of the first output,
    `extra` of the further outputs.
    """

    __slots__ = (
        "__weakref__", "checkpoint", "device", "edges", "extra", "freed", "hooks", "op", "out", "params", "retains",
        "saved", "serial", "shapes", "where",
    )  # fmt: skip


def new_node(op, device, edges, saved, params):
    """A Node with nothing but these; filled in one by one, since a call with arguments would cost more than they do."""
    node = Node.__new__(Node)
    node.op = op
    node.device = device
    node.edges = edges
    node.saved = saved
    node.params = params
    if not COMPILED:  # a new C structure is blank
        for name in _BLANK_NODE:
            setattr(node, name, None)
        node.freed = False
        node.serial = 0
    return node


class TensorBase:
    """The fields of a tensor; `Tensor` adds the methods."""

    __slots__ = ("_grad", "_hooks", "array", "device", "dtype", "node", "requires_grad", "shape")

    @property
    def grad(self):
        """The accumulated gradient, or None."""
        return self._grad

    @grad.setter
    def grad(self, value):
        if value is not None:
            if not isinstance(value, TensorBase):
                raise ArgumentTypeError(f"grad must be a Tensor or None, got {type(value).__name__}")
            if value.shape != self.shape:
                raise ShapeError(f"grad of shape {value.shape} assigned to a tensor of shape {self.shape}")
        self._grad = value


class Tensor(TensorBase):
    """An n-dimensional array on a device, with automatic differentiation.

    Make one with `mlcore.asarray` (or `mlcore.tensor`), `zeros`, `ones`, ... Tensors are values: no two share
    memory visibly; assignment and in-place operators give the object a new value.
    """

    __slots__ = ("__weakref__",)
    __hash__ = object.__hash__

    def __init__(self, *args, **kwargs):
        raise ArgumentTypeError(
            "Tensor is not constructed directly", fix="use mlcore.asarray(data, dtype=, device=)"
        )

    # -- facts --------------------------------------------------------------------------------------------

    @property
    def ndim(self):
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self):
        """Number of elements."""
        count = 1
        for dim in self.shape:
            count *= dim
        return count

    @property
    def nbytes(self):
        """Bytes that the elements take."""
        return self.size * self.dtype.itemsize

    @property
    def is_leaf(self):
        """Whether no recorded operation made this tensor."""
        return self.node is None

    def __len__(self):
        if not self.shape:
            raise ArgumentTypeError("len() of a 0-d tensor", fix="use .item() for its value")
        return self.shape[0]

    def __bool__(self):
        return bool(self.item())

    def __int__(self):
        return int(self.item())

    def __float__(self):
        return float(self.item())

    def __complex__(self):
        return complex(self.item())

    def __index__(self):
        if self.dtype.kind not in "iu":
            raise ArgumentTypeError(
                f"a {self.dtype} tensor cannot be used as an index", fix="astype an integer dtype"
            )
        return self.item()

    def __format__(self, spec):
        return format(self.item(), spec) if spec and not self.shape else format(str(self), spec)

    # -- to the host ----------------------------------------------------------------------------------------

    def numpy(self):
        """The values as a read-only NumPy array: without a copy where the memory is the host's."""
        host = self.device.to_host(self.array).view()
        host.flags.writeable = False
        return host

    def __array__(self, dtype=None, copy=None):
        host = self.numpy()
        if dtype is not None and np.dtype(dtype) != host.dtype:
            if copy is False:
                raise ValueError(f"cannot give {self.dtype} as {dtype} without a copy")
            return host.astype(dtype)
        return host.copy() if copy else host

    def item(self):
        """The Python number of a tensor with one element."""
        if self.size != 1:
            raise ShapeError(
                f"item: a tensor of shape {self.shape} has {self.size} elements",
                fix="index one, or use tolist()",
            )
        return self.device.to_host(self.array).reshape(()).item()

    def tolist(self):
        """The values as nested Python lists."""
        return self.device.to_host(self.array).tolist()

    def __repr__(self):
        host = self.device.to_host(self.array)
        body = np.array2string(host, separator=", ", prefix="Tensor(", threshold=200, edgeitems=3)
        notes = (
            "" if self.dtype.name in ("float32", "int64", "bool") and self.size else f", dtype={self.dtype}"
        )
        notes += "" if self.size or self.shape == (0,) else f", shape={self.shape}"
        notes += f", device='{self.device}'"
        if self.node is not None:
            notes += f", made_by={self.node.op.name}"
        elif self.requires_grad:
            notes += ", requires_grad=True"
        return f"Tensor({body}{notes})"

    # -- the tape -------------------------------------------------------------------------------------------

    def detach(self):
        """The same values, off the tape."""
        return wrap(self.array, self.device, self.dtype, self.shape)

    def requires_grad_(self, flag=True):
        """Ask for (or stop asking for) this leaf's gradient; returns the tensor."""
        if self.node is not None:
            raise AutogradError(
                f"requires_grad_: this tensor was made by {self.node.op.name!r}, it is not a leaf",
                fix="call detach() first",
            )
        if flag and self.dtype.kind not in "fc":
            raise AutogradError(
                f"requires_grad_: {self.dtype} has no gradient", fix="astype a floating dtype"
            )
        self.requires_grad = bool(flag)
        return self

    def register_hook(self, hook):
        """Call `hook(grad)` when this tensor's gradient is known; a Tensor it returns replaces the gradient.

        Returns a handle with `remove()`.
        """
        if not self.requires_grad:
            raise AutogradError(
                "register_hook: this tensor does not require a gradient", fix="set requires_grad"
            )
        if self.node is not None:
            if self.node.hooks is None:
                self.node.hooks = {}
            return HookHandle(self.node.hooks, hook)
        if self._hooks is None:
            self._hooks = {}
        return HookHandle(self._hooks, hook)

    def register_post_accumulate_grad_hook(self, hook):
        """Call `hook(tensor)` after backward has put a gradient into `.grad`; leaves only.

        Returns a handle with `remove()`.
        """
        if self.node is not None or not self.requires_grad:
            raise AutogradError(
                "register_post_accumulate_grad_hook: gradients are kept by leaves that require one",
                fix="use register_hook, or set requires_grad on a leaf",
            )
        if self._hooks is None:
            self._hooks = {}
        return HookHandle(self._hooks, AfterGradient(hook))

    def retain_grad(self):
        """Keep this intermediate tensor's gradient in `.grad` during the next backward."""
        if self.node is not None:
            import weakref

            node = self.node
            node.retains = weakref.ref(self)

    def rebind(self, other):
        """Give this object another tensor's value: what assignment and in-place operators do.

        A leaf that requires a gradient stays that leaf; it refuses a value that has a history of its own.
        """
        if not isinstance(other, TensorBase) or other.shape != self.shape or other.dtype is not self.dtype:
            raise MlcoreError("rebind: a value of another shape or dtype")  # an internal error: callers check
        if other.device is not self.device:
            raise DeviceError(
                f"in-place: a value on {other.device} for a tensor on {self.device}",
                fix=f"move the value first: value.to({str(self.device)!r})",
            )
        if self.requires_grad and self.node is None:
            if other.requires_grad and (other.node is None or not _only_from(other.node, self)):
                raise AutogradError(
                    "in-place change of a leaf that requires a gradient, by a value that requires one too",
                    cause="the leaf would lose either its own gradient or the value's",
                    fix="write `y = ...` to make a new tensor, or do it under no_grad()",
                )
            self.array = other.array
            return self
        self.array = other.array
        self.node = other.node
        self.requires_grad = other.requires_grad
        return self

    def __copy__(self):
        return self.__deepcopy__({})

    def __deepcopy__(self, memo):
        if self.node is not None:
            raise AutogradError("copy of a tensor with a history", fix="copy its detach()")
        twin = type(self).__new__(type(self))
        assign(twin, self.array, self.device, self.dtype, self.shape, None, self.requires_grad)
        if self.grad is not None:
            twin.grad = self.grad.detach()
        memo[id(self)] = twin
        return twin

    def __reduce__(self):
        if self.node is not None:
            raise AutogradError("pickling a tensor with a history", fix="pickle its detach()")
        host = np.array(self.device.to_host(self.array))
        return _unpickle, (type(self), host, self.device, self.requires_grad)


def _unpickle(kind, host, device, requires_grad):
    from mlcore.dtypes import from_numpy

    twin = kind.__new__(kind)
    assign(twin, device.from_host(host), device, from_numpy(host.dtype), host.shape, None, requires_grad)
    return twin


def _only_from(node, leaf):
    """Whether every gradient of this history flows to `leaf` alone: then dropping the history loses nothing."""
    stack = [node]
    seen = set()
    while stack:
        for edge in stack.pop().edges:
            if edge is None or edge is leaf or edge in seen:
                continue
            if not isinstance(edge, Node):
                return False
            seen.add(edge)
            stack.append(edge)
    return True


class AfterGradient:
    """A hook that waits until the gradient lies in `.grad`, among those that may change it before."""

    __slots__ = ("hook",)

    def __init__(self, hook):
        self.hook = hook


class HookHandle:
    """Removes a hook again.

    >>> hooks = {}
    >>> handle = HookHandle(hooks, print); handle.remove(); hooks
    {}
    """

    __slots__ = ("hooks",)

    def __init__(self, hooks, hook):
        self.hooks = hooks
        hooks[self] = hook

    def remove(self):
        """Take the hook away; doing it twice is harmless."""
        self.hooks.pop(self, None)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()


if not COMPILED:  # tensor.pxd has the C function
    globals()["new_instance"] = object.__new__


def assign(tensor, array, device, dtype, shape, node, requires_grad):
    """Fill a tensor's fields."""
    tensor.array = array
    tensor.device = device
    tensor.dtype = dtype
    tensor.shape = shape
    tensor.node = node
    tensor.requires_grad = requires_grad
    tensor._grad = None
    tensor._hooks = None


def wrap(array, device, dtype, shape):
    """A new tensor off the tape around a backend's array."""
    tensor = new_instance(Tensor)  # noqa: F821  (see tensor.pxd)
    tensor.array = array
    tensor.device = device
    tensor.dtype = dtype
    tensor.shape = shape
    if not COMPILED:  # a new C structure is blank
        tensor.node = tensor._grad = tensor._hooks = None
        tensor.requires_grad = False
    return tensor


def wrap_recorded(array, device, dtype, shape, node):
    """A new tensor that `node` made."""
    tensor = new_instance(Tensor)  # noqa: F821  (see tensor.pxd)
    tensor.array = array
    tensor.device = device
    tensor.dtype = dtype
    tensor.shape = shape
    tensor.node = node
    tensor.requires_grad = True
    if not COMPILED:
        tensor._grad = tensor._hooks = None
    return tensor
