"""OpFacts: what an operation is. It holds a declaration and binds the arguments of a call; it runs nothing."""

from __future__ import annotations

import inspect
from typing import Any

from mlcore.dtype import DType
from mlcore.errors import ArgumentTypeError

MISSING: Any = type(
    "Missing", (), {"__repr__": lambda self: "MISSING"}
)()  # a parameter that a caller did not give

# Where a vjp's argument comes from.
INPUT, OUTPUT, EXTRA, PARAM, SHAPE, DTYPE, GRADIENT, MASK = range(8)

# What a mask says of a vjp: bit i that it reads input i, these that it reads the first output, or the further ones.
OUTPUT_BIT = 1 << 62
EXTRA_BIT = 1 << 61
INPUT_BITS = EXTRA_BIT - 1


class OpFacts:
    """An operation as declared: everything that anybody needs to know about it. `mlcore.dispatch.Op` adds calling."""

    __slots__ = (
        "__dict__", "__weakref__", "accepts", "body", "cacheable", "casts_integers", "check", "differentiable",
        "elementwise", "index", "listed", "mask", "masks", "n_inputs", "name", "needs_shapes", "params", "plans",
        "promoted",
        "result", "rule", "second_mask", "unasked", "variadic", "vjp_all", "vjps",
    )  # fmt: skip

    def __init__(self) -> None:
        # as declared
        self.name: str = ""
        self.doc: str = ""
        # why it runs on the host where a device has no kernel: the conformance kit allows that
        self.host: str = ""
        self.family: str = ""  # "unary", "binary", "reduction", ...
        self.group: str = ""  # the file it is declared in
        self.inputs: tuple[str, ...] = ()
        self.optional: frozenset[str] = frozenset()  # the inputs that may be None
        self.params: tuple[str, ...] = ()
        self.outputs: tuple[str, ...] = ()
        self.accepts: frozenset[DType] = frozenset()
        self.promoted: frozenset[int] | None = None  # the inputs that are brought to one dtype; None: all
        self.rule: Any = None
        self.body: Any = None
        self.check: Any = None  # looks at values, where a kernel could not refuse them
        self.reference: Any = None
        self.c: Any = None
        self.c_init: str | None = None
        self.vjp: Any = None
        self.ulp: int = 0
        self.flops: Any = None  # flops(first output, *inputs): its work; None: that of its body
        self.domain: Any = None
        self.samples: Any = None
        self.method: str | None = None
        self.operators: tuple[str, ...] = ()
        self.public: bool = False
        self.standard: str = ""
        self.variadic: bool = False  # its one input is a list of tensors
        self.listed: bool = False  # its kernel returns a tuple, however long
        self.cacheable: bool = False
        self.casts_integers: bool = False
        self.autocast: str | None = None  # "low" or "wide": its precision under autocast
        self.elementwise: bool = False
        # worked out from those
        self.index: int = 0
        self.n_inputs: int = 0
        self.unasked: tuple[Any, ...] = ()  # what a call without parameters asks for
        self.multiple: bool = False
        self.positional: int = 0
        self.required: tuple[str, ...] = ()
        self.described_by: Any = None  # the function that has the signature; None: plain inputs
        self._signature: inspect.Signature | None = None
        self.__name__: str = ""
        self.__qualname__: str = ""
        self.result: list[Any] = []
        self.differentiable: bool = False
        self.vjps: Any = None
        self.vjp_all: Any = None
        self.plans: Any = None
        self.masks: list[int] = []  # what must be saved for each input's gradient
        self.mask: int = 0  # the first of them, and the second: elementwise operations read these
        self.second_mask: int = 0
        self.needs_shapes: bool = False

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A call's inputs, and its parameters by name, as the declared signature says."""
        if self.variadic:
            given = args[0] if args else kwargs.pop(self.inputs[0], ())
            inputs = tuple(given) if isinstance(given, (list, tuple)) else (given,)
            args = args[1:]
        elif len(args) >= self.n_inputs:
            inputs = args[: self.n_inputs]
            args = args[self.n_inputs :]
        else:
            inputs = self._named_inputs(args, kwargs)
            args = ()
        if args:
            kwargs = self._named_params(args, kwargs)
        return inputs, kwargs

    def _named_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        inputs = list(args)
        for name in self.inputs[len(args) :]:
            if name in kwargs:
                inputs.append(kwargs.pop(name))
            elif name in self.optional:
                inputs.append(None)
            else:
                raise ArgumentTypeError(f"{self.name}: missing argument {name!r}", expects=self.usage)
        return tuple(inputs)

    def _named_params(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if len(args) > self.positional:
            raise ArgumentTypeError(
                f"{self.name}: {self.n_inputs + len(args)} positional arguments, at most "
                f"{self.n_inputs + self.positional}",
                expects=self.usage,
            )
        kwargs = dict(kwargs)
        for name, value in zip(self.params, args):
            if name in kwargs:
                raise ArgumentTypeError(f"{self.name}: {name!r} given twice", expects=self.usage)
            kwargs[name] = value
        return kwargs

    @property
    def signature(self) -> inspect.Signature:
        """The public signature; made when first asked for, since importing mlcore should not take longer for it."""
        if self._signature is None:
            if self.described_by is None:
                kind = inspect.Parameter.POSITIONAL_ONLY
                shown = [inspect.Parameter(one, kind, annotation="Tensor") for one in self.inputs]
            else:
                parameters = inspect.signature(self.described_by).parameters.values()
                shown = [p for p in parameters if p.kind is not p.VAR_POSITIONAL]
            self._signature = inspect.Signature(shown)
        return self._signature

    @property
    def usage(self) -> str:
        """How to call it, for error texts: the signature without types."""
        plain = [p.replace(annotation=p.empty) for p in self.signature.parameters.values()]
        return f"{self.name}{inspect.Signature(plain)}"

    @property
    def __signature__(self) -> inspect.Signature:
        return self.signature

    def __repr__(self) -> str:
        return f"<mlcore op {self.usage}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from mlcore.ops.registry import get

        return get, (self.name,)
