"""Mixed precision: `autocast` runs operations in the precision they declare, `GradScaler` keeps small gradients.

An operation declares `autocast="low"` (products: matmul, linear, convolution, attention) or `autocast="wide"` (softmax,
norms, losses, reductions). Parameters stay float32, and so do their gradients: the cast is on the tape. After
Micikevicius et al. 2018, with the interface of `torch.amp`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from mlcore import dispatch, dtypes
from mlcore.dtypes import as_dtype
from mlcore.errors import ArgumentError, ArgumentTypeError
from mlcore.modes import MODES, casting, is_recording
from mlcore.ops.creation import asarray
from mlcore.ops.elementwise import astype
from mlcore.ops.logic import isfinite, logical_and
from mlcore.ops.reduce import all as all_
from mlcore.tensor import TensorBase

__all__ = ["GradScaler", "autocast", "is_autocast_enabled"]

_HALVES = (dtypes.float16, dtypes.bfloat16)


def is_autocast_enabled() -> bool:
    """Whether operations of this thread are cast."""
    return MODES.special != 0 and MODES.local.autocast is not None


class autocast:
    """Context manager and decorator: operations inside run in `dtype`, or float32, as each declares.

    `device_type` names the backend whose tensors are cast ('cpu'); None casts on every device. `dtype` is bfloat16
    (the default) or float16. Tensors of float64 and integers are left alone. With `cache_enabled` a parameter is cast
    once in the outermost context. Backward is never cast: gradients have the dtype of what they belong to.

    >>> import mlcore as ml
    >>> x, w = ml.ones((2, 3)), ml.ones((3, 4), requires_grad=True)
    >>> with ml.autocast("cpu"):
    ...     y = x @ w
    ...     loss = y.mean()
    >>> loss.backward()
    >>> y.dtype, loss.dtype, w.grad.dtype
    (bfloat16, float32, float32)
    """

    def __init__(
        self,
        device_type: str | None = None,
        dtype: Any = None,
        enabled: bool = True,
        cache_enabled: bool = True,
    ) -> None:
        if device_type is not None and not isinstance(device_type, str):
            raise ArgumentTypeError(
                f"autocast: device_type is {device_type!r}", fix="pass the name of a backend, or None"
            )
        chosen = dtypes.bfloat16 if dtype is None else as_dtype(dtype)
        if chosen not in _HALVES:
            raise ArgumentError(f"autocast: dtype is {chosen}", fix="use bfloat16 or float16")
        self.device_type, self.dtype, self.enabled, self.cache_enabled = (
            device_type,
            chosen,
            enabled,
            cache_enabled,
        )
        self._open: list[Any] = []

    def __enter__(self) -> autocast:
        outer = getattr(MODES.local.autocast, "kept", None) if MODES.special else None
        caster = None
        if self.enabled:
            kept = outer if outer is not None else {}
            caster = _Caster(self.device_type, self.dtype, kept if self.cache_enabled else None)
        context = casting(caster)
        context.__enter__()
        self._open.append(context)
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.pop().__exit__(*exc)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            with autocast(self.device_type, self.dtype, self.enabled, self.cache_enabled):
                return function(*args, **kwargs)

        return inner


class _Caster:
    """What `dispatch` asks for an operation's inputs."""

    __slots__ = ("device_type", "dtype", "kept")

    def __init__(self, device_type: str | None, dtype: Any, kept: dict[Any, Any] | None) -> None:
        self.device_type, self.dtype, self.kept = device_type, dtype, kept

    def __call__(self, op: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        how = op.autocast
        if how is None:
            return inputs
        tensors = [one for one in inputs if isinstance(one, TensorBase)]
        if self.device_type is not None and any(self._elsewhere(one) for one in tensors):
            return inputs
        if any(one.dtype is dtypes.float64 for one in tensors):
            return inputs
        if how == "wide":
            wide = dtypes.float32
            return tuple(
                [astype(x, wide) if isinstance(x, TensorBase) and x.dtype in _HALVES else x for x in inputs]
            )
        return tuple([self._lowered(x) if isinstance(x, TensorBase) else x for x in inputs])

    def _elsewhere(self, tensor: Any) -> bool:
        return bool(str(tensor.device.id).split(":")[0] != self.device_type)

    def _lowered(self, x: Any) -> Any:
        """A float in the low dtype; a parameter's is kept as long as it has this value."""
        if x.dtype is self.dtype or not (x.dtype is dtypes.float32 or x.dtype in _HALVES):
            return x
        if self.kept is None or x.node is not None or not x.requires_grad:
            return astype(x, self.dtype)
        key = (id(x), self.dtype, is_recording())
        found = self.kept.get(key)
        if found is None or found[1] is not x.array:
            found = self.kept[key] = (x, x.array, astype(x, self.dtype))
        return found[2]


_READY, _UNSCALED, _STEPPED = "ready", "unscaled", "stepped"


class GradScaler:
    """Scales the loss up so that small float16 gradients are not lost, and skips steps whose gradients overflowed.

    `scale(loss).backward()`, `step(optimizer)`, `update()`: after an overflow the scale is multiplied by
    `backoff_factor`, after `growth_interval` steps without one by `growth_factor`.

    >>> import mlcore as ml
    >>> p = ml.nn.Parameter(ml.ones((1,)))
    >>> optimizer, scaler = ml.optim.SGD([p], lr=1.0), ml.GradScaler(init_scale=8.0)
    >>> scaler.scale(p.sum() * 0.5).backward()
    >>> scaler.step(optimizer); scaler.update(); p.item(), scaler.get_scale()
    (0.5, 8.0)
    """

    def __init__(
        self, device: Any = None, init_scale: float = 2.0**16, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        if not growth_factor > 1 or not 0 < backoff_factor < 1 or not init_scale > 0 or growth_interval < 1:
            raise ArgumentError(
                f"GradScaler: init_scale {init_scale}, growth_factor {growth_factor}, backoff_factor {backoff_factor}, "
                f"growth_interval {growth_interval}",
                fix="use init_scale > 0, growth_factor > 1, 0 < backoff_factor < 1, growth_interval >= 1",
            )
        self._enabled, self._scale = enabled, float(init_scale)
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        self._states: dict[
            int, tuple[str, bool]
        ] = {}  # of each optimizer: its stage, whether a gradient overflowed

    def scale(self, outputs: Any) -> Any:
        """A tensor, or tensors in lists and tuples, multiplied by the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, TensorBase):
            wide: Any = astype(outputs, dtypes.float32) if outputs.dtype in _HALVES else outputs
            return wide * self._scale
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(one) for one in outputs)
        raise ArgumentTypeError(f"GradScaler.scale: got a {type(outputs).__name__}", fix="pass tensors")

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of the optimizer's parameters by the scale, e.g. before clipping them."""
        if not self._enabled:
            return
        stage, _ = self._states.get(id(optimizer), (_READY, False))
        if stage != _READY:
            raise ArgumentError(
                f"GradScaler.unscale_: this optimizer is {stage} already",
                fix="call it once between two update()",
            )
        bad = None
        with dispatch.recording(False), casting(None):
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p.grad is None:
                        continue
                    if p.grad.dtype is dtypes.float16:
                        raise ArgumentError(
                            "GradScaler.unscale_: a gradient is float16", cause="its parameter is float16",
                            fix="keep parameters in float32 and use autocast",
                        )  # fmt: skip
                    p.grad = p.grad * (1.0 / self._scale)
                    fine = all_(isfinite(p.grad))
                    bad = fine if bad is None else logical_and(bad, fine)
        self._states[id(optimizer)] = (_UNSCALED, bad is not None and not bad.item())

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(*args, **kwargs)`, unless a gradient is inf or nan; unscales first if that was not done."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        stage, overflowed = self._states.get(id(optimizer), (_READY, False))
        if stage == _STEPPED:
            raise ArgumentError(
                "GradScaler.step: this optimizer has stepped already", fix="call update() in between"
            )
        if stage == _READY:
            self.unscale_(optimizer)
            overflowed = self._states[id(optimizer)][1]
        self._states[id(optimizer)] = (_STEPPED, overflowed)
        return None if overflowed else optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Set the scale for the next iteration: smaller after an overflow, larger after many steps without."""
        if not self._enabled:
            return
        if not self._states and new_scale is None:
            raise ArgumentError(
                "GradScaler.update: no optimizer has stepped", fix="call step(optimizer) first"
            )
        if new_scale is not None:
            self._scale = float(asarray(new_scale).item())
        elif any(overflowed for _, overflowed in self._states.values()):
            self._scale, self._growth_tracker = self._scale * self._backoff_factor, 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                grown = self._scale * self._growth_factor
                self._scale, self._growth_tracker = (grown if grown < 3e38 else self._scale), 0
        self._states.clear()

    def get_scale(self) -> float:
        """The scale; 1 when disabled."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by after `growth_interval` good steps."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Change it."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after an overflow."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Change it."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """How many good steps it takes."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Change it."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, under PyTorch's names; empty when disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale, "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a kept state."""
        if not self._enabled:
            return
        names = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
        missing = [one for one in names if one not in state_dict]
        if missing:
            raise ArgumentError(
                f"GradScaler.load_state_dict: {', '.join(missing)} missing",
                fix="pass the state_dict of a GradScaler that was enabled",
            )
        self._scale, self._growth_factor = float(state_dict["scale"]), state_dict["growth_factor"]
        self._backoff_factor, self._growth_interval = (
            state_dict["backoff_factor"],
            state_dict["growth_interval"],
        )
        self._growth_tracker = int(state_dict["_growth_tracker"])
