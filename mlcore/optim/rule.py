"""UpdateRule: an optimizer is its hyperparameters and the rule for one parameter; the rest comes from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, dataclass_transform

from mlcore import dispatch, dtypes
from mlcore.dispatch import Op
from mlcore.errors import StateDictError
from mlcore.ops.creation import full_like
from mlcore.ops.update import KEPT, step_of_all
from mlcore.optim.hyper import Hyper, bound, flag, hyper, signature_of
from mlcore.optim.optimizer import Optimizer
from mlcore.optim.step import buckets, run
from mlcore.tensor import TensorBase

Group = dict[str, Any]
STEP = ("step",)


class Plan:
    """What is read from a rule's signature: its operation, its states, and the numbers that it takes."""

    __slots__ = ("names", "op", "optional", "states")

    def __init__(self, rule: Any, **how: Any) -> None:
        self.op: Op = rule if isinstance(rule, Op) else step_of_all(rule, **how)
        self.optional = KEPT in self.op.params
        self.names = tuple(name for name in self.op.params if name != KEPT)
        code = self.op.described_by.__code__
        self.states: tuple[str, ...] = code.co_varnames[2 : code.co_posonlyargcount]


@dataclass_transform(field_specifiers=(hyper, flag))
class Declared(Optimizer):
    """An optimizer whose constructor comes from hyperparameters that are declared in the class."""

    _fields: ClassVar[dict[str, Hyper]] = {}

    def __init_subclass__(cls, **how: Any) -> None:
        super().__init_subclass__(**how)
        own = {name: one for name, one in vars(cls).items() if isinstance(one, Hyper)}
        cls._fields = {**cls._fields, **own}
        for name in own:
            delattr(cls, name)
        cls.__signature__ = signature_of(cls._fields)  # type: ignore[attr-defined]  # read by inspect

    def __init__(self, *args: Any, **given: Any) -> None:
        cls = type(self)
        found = bound(cls.__name__, cls.__signature__, args, given)  # type: ignore[attr-defined]  # set above
        params = found.pop("params")
        super().__init__(params, {name: found.get(name, one.default) for name, one in cls._fields.items()})

    def _check(self, group: Group) -> None:
        for name, one in self._fields.items():
            one.check(type(self).__name__, name, group[name])
        self.check(group)

    def check(self, group: Group) -> None:
        """Refuse hyperparameters that do not go together; derived classes write it where there are such."""


class UpdateRule(Declared):
    """An optimizer that is written as the rule for one parameter.

    Hyperparameters are class attributes made by `hyper`, in the order of the constructor's arguments (`params` comes
    first by itself). `rule(p, g, *states, /, *, numbers)` returns the new value of the parameter `p` with the
    gradient `g`, and then those of its states, if it has any. The names in its signature say the rest.

    What stands before `/`, after `p` and `g`, is kept for each parameter: from zeros on, or from what `start` says;
    with the default None, only where `keeps(p, group)` names it. What stands after `*` are hyperparameters, or
    `step`, which counts from 1, or what `numbers` adds.

    The constructor with its checks, parameter groups, `maximize`, hooks, `state_dict` in PyTorch's layout, and the
    step over all parameters as one operation follow from that.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> class Slowing(optim.UpdateRule):
    ...     lr: float = optim.hyper(default=0.1)
    ...     drag: float = optim.hyper(default=0.5, high=1.0)
    ...     @staticmethod
    ...     def rule(p, g, speed, /, *, lr, drag, step):
    ...         speed = speed * drag - g * (lr / step)
    ...         return p + speed, speed
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * p).sum().backward()
    >>> optimizer = Slowing([p], lr=0.25)
    >>> optimizer.step(); p.tolist(), sorted(optimizer.state_dict()["state"][0])
    ([0.5], ['speed', 'step'])
    >>> Slowing([p], drag=1.5)
    Traceback (most recent call last):
    mlcore.errors.ArgumentError: Slowing: drag is 1.5
      fix: use a number >= 0 and <= 1
    """

    params: Iterable[Any]
    rule: ClassVar[Any] = None
    start: ClassVar[Mapping[str, Any]] = {}
    """Where a state starts: a number, or a function of (parameter, group) that returns a number or a tensor."""
    eager: ClassVar[bool] = False
    """Whether states are made with the optimizer, not with the first gradient."""
    _plan: ClassVar[Plan]
    _scalars: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, op: str | None = None, samples: Any = None, ulp: int = 16, shapes: Any = None,
                          **how: Any) -> None:  # fmt: skip
        super().__init_subclass__(**how)
        rule = vars(cls).get("rule")
        if rule is not None:
            rule = getattr(rule, "__func__", rule)
            more: dict[str, Any] = dict(name=op or f"{cls.__name__}.rule", samples=samples, ulp=ulp)
            more |= {"shapes": shapes} if shapes else {}
            cls._plan = Plan(
                rule, registered=op is not None, doc=(cls.__doc__ or "").partition("\n")[0], **more
            )
        plan = getattr(cls, "_plan", None)
        if plan is None:
            return
        counted = STEP if "step" in plan.names else ()
        named = dict.fromkeys((*counted, *cls.start))
        scalars = tuple(name for name in named if name not in plan.states)
        cls._scalars = STEP if scalars == STEP else scalars

    # -- what a rule may say further --------------------------------------------------------------------------

    def numbers(self, group: Group, scalars: dict[str, Any]) -> Mapping[str, Any]:
        """What the rule gets by name: hyperparameters and scalar states (`step` is the number of this step).

        Written where something is worked out once for all parameters; what it puts in `scalars` is kept.
        """
        return {**group, **scalars}

    def _values(self, plan: Plan, group: Group, scalars: dict[str, Any]) -> tuple[Any, ...]:
        """The numbers in the order of the rule; `numbers` is what to write."""
        given = self.numbers(group, scalars)
        return tuple([_plain(given[name]) for name in plan.names])

    def keeps(self, p: Any, group: Group) -> tuple[str, ...]:
        """The states that this parameter has, of those with the default None and all others, in their order."""
        return self._plan_for(group).states

    def state_shape(self, name: str, p: Any) -> tuple[int, ...]:
        """The shape of a state of the parameter `p`."""
        shape: tuple[int, ...] = p.shape
        return shape

    def _plan_for(self, group: Group) -> Plan:
        """The rule for a group."""
        return self._plan

    # -- the step ---------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Train further parameters, with hyperparameters of their own where the group has them."""
        super().add_param_group(param_group)
        if self.eager:
            group = self.param_groups[-1]
            for p in group["params"]:
                self._begin(p, group, self._plan_for(group).states)

    def _begin(self, p: Any, group: Group, kept: tuple[str, ...]) -> None:
        """Make the states that the parameter does not have yet: all, or none where memory runs out."""
        one = self.state[p]
        fresh: dict[str, Any] = {}
        for name in (*self._scalars, *kept):
            if name not in one:
                made = self.start.get(name, 0)
                made = made(p, group) if callable(made) else made
                if name in kept and not isinstance(made, TensorBase):
                    shape = self.state_shape(name, p)
                    made = full_like(p, made) if shape == p.shape else _filled(shape, made, p)
                fresh[name] = made
        one.update(fresh)

    def _update(self, group: Group, parameters: list[Any], gradients: list[Any]) -> None:
        state = self.state
        plan = self._plan_for(group)
        held = [state[p] for p in parameters]
        kept = None
        if plan.optional:
            kept = [self.keeps(p, group) for p in parameters]
            for p, one, names in zip(parameters, held, kept):
                if not one or (names and names[-1] not in one):
                    self._begin(p, group, names)
        elif not all(held) or (plan is not self._plan and plan.states[-1] not in held[0]):
            for p in parameters:
                self._begin(p, group, plan.states)
        keys: list[Any] | None = None
        counted = kept is None and self._scalars is STEP
        if counted:
            keys = [one["step"] for one in held]
        elif kept is not None or self._scalars:
            keys = [(*[one[name] for name in self._scalars], None if kept is None else kept[i])
                    for i, one in enumerate(held)]  # fmt: skip
        for key, owners, grads in buckets(parameters, gradients, keys):
            states = held if len(owners) == len(held) else [state[p] for p in owners]
            scalars = {"step": key + 1} if counted else self._next(states[0])
            values = self._values(plan, group, scalars)
            names = plan.states
            if kept is not None:
                names = self.keeps(owners[0], group)
                values = (names, *values)
            columns = [owners, grads]
            for name in names:
                columns.append([one[name] for one in states])
            run(plan.op, columns, values, group.get("differentiable", False))
            if counted:
                key += 1
                for one in states:
                    one["step"] = key
            else:
                for one in states:
                    one.update(scalars)

    def _next(self, one: dict[str, Any]) -> dict[str, Any]:
        """The scalar states as `numbers` gets them."""
        scalars = {name: one[name] for name in self._scalars}
        if "step" in scalars:
            scalars["step"] += 1
        return scalars

    # -- state ------------------------------------------------------------------------------------------------

    def _saved(self, key: str, value: Any) -> Any:
        return dispatch.from_data(float(value)) if key in self._scalars else super()._saved(key, value)

    def _loaded(self, who: str, i: Any, key: str, value: Any, owner: Any) -> Any:
        if value is None:
            return value
        if key in self._scalars:
            number = float(value.item() if hasattr(value, "item") else value)
            return int(number) if key == "step" else number
        made = super()._loaded(who, i, key, value, owner)
        if key in self._plan.states and made.shape != self.state_shape(key, owner):
            raise StateDictError(
                f"{who}.load_state_dict: {key!r} of parameter {i} has shape {made.shape}, the parameter {owner.shape}"
            )
        return made


def _plain(value: Any) -> Any:
    """A hyperparameter as an operation takes it."""
    # the methods are attached to Tensor
    return value.item() if isinstance(value, TensorBase) else value  # type: ignore[attr-defined]


def _filled(shape: tuple[int, ...], value: Any, p: Any) -> Any:
    from mlcore.ops.creation import full

    return full(shape, value, dtype=p.dtype, device=p.device)


def scalar(value: float) -> float:
    """A number as precise as it is kept in PyTorch's scalar states: in the default float, and at least float32."""
    wide = dtypes.default_float() is dtypes.float64
    return float(value) if wide else float(dtypes.float32.numpy.type(value))


__all__ = ["Declared", "Plan", "UpdateRule", "scalar"]
