"""Optimizer: groups of parameters, each with its hyperparameters, and the state kept for each parameter."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mlcore import dispatch
from mlcore.errors import ArgumentError, ArgumentTypeError, AutogradError, StateDictError
from mlcore.ops.elementwise import astype
from mlcore.optim.hooks import Hooked, around, hooked
from mlcore.optim.hyper import number
from mlcore.optim.step import clear, graded
from mlcore.tensor import TensorBase

__all__ = ["Optimizer", "number"]


class Optimizer(Hooked):
    """Base of all optimizers: `params` is an iterable of parameters, of (name, parameter), or of dicts (groups).

    A group is a dict with "params" and the hyperparameters that differ from the defaults. An optimizer of your own is
    best an `UpdateRule`; PyTorch's way, a class with its own `step()`, works too.
    """

    def __init_subclass__(cls, **how: Any) -> None:
        super().__init_subclass__(**how)
        if "step" in cls.__dict__:
            cls.step = hooked(cls.__dict__["step"])  # type: ignore[method-assign]  # wrapped once for each class

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        name = type(self).__name__
        if isinstance(params, TensorBase):
            raise ArgumentTypeError(
                f"{name}: params is one tensor", fix="pass a list of parameters, e.g. model.parameters()"
            )
        if isinstance(params, Mapping):
            raise ArgumentTypeError(
                f"{name}: params is a mapping", fix="pass its values(), or a list of group dicts"
            )
        self.defaults = defaults
        self._hooks, self._stepping = {}, False
        self.state: dict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ArgumentError(
                f"{name}: there are no parameters",
                cause="the iterable of parameters is empty",
                fix="pass model.parameters(), once: an iterator is used up by the first user",
            )
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Train further parameters, with hyperparameters of their own where the group has them."""
        name = type(self).__name__
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise ArgumentTypeError(
                f"{name}: a parameter group is a {type(param_group).__name__}",
                fix='pass {"params": [...], ...}',
            )
        given = param_group["params"]
        if isinstance(given, (set, frozenset)):
            raise ArgumentTypeError(
                f"{name}: parameters in a set", cause="its order differs from run to run", fix="use a list"
            )
        members: list[Any] = [given] if isinstance(given, TensorBase) else list(given)
        names = None
        if members and all(isinstance(one, tuple) and len(one) == 2 for one in members):
            names, members = [one[0] for one in members], [one[1] for one in members]
        known = {id(one) for group in self.param_groups for one in group["params"]}
        for i, one in enumerate(members):
            if not isinstance(one, TensorBase):
                raise ArgumentTypeError(f"{name}: parameter {i} is a {type(one).__name__}, not a Tensor")
            if one.node is not None and not param_group.get(
                "differentiable", self.defaults.get("differentiable")
            ):
                raise AutogradError(
                    f"{name}: parameter {i}, shape {one.shape}, is not a leaf: it was made by {one.node.op.name!r}",
                    fix="pass the leaf itself, or detach().requires_grad_()",
                )
            if id(one) in known:
                raise ArgumentError(
                    f"{name}: parameter {i}, shape {one.shape}, is given twice",
                    cause="it would be updated twice a step",
                    fix="give each parameter once, in one group",
                )
            known.add(id(one))
        group = {**self.defaults, **param_group, "params": members}
        if names is not None:
            group["param_names"] = names
        self._check(group)
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients (or set them to zero)."""
        for group in self.param_groups:
            if set_to_none:
                clear(group["params"])
                continue
            for one in group["params"]:
                if one.grad is not None:
                    one.grad = one.grad.detach() * 0

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; a `closure` computes the loss first, and it is returned."""
        if self._hooks and not self._stepping:
            return around(Optimizer.step, (self,) if closure is None else (self, closure), {})
        loss = None
        if closure is not None:
            with dispatch.recording(True):
                loss = closure()
        for group in self.param_groups:
            parameters, gradients = graded(group["params"])
            if parameters:
                with dispatch.recording(group.get("differentiable", False) and dispatch.is_recording()):
                    if group.get("maximize"):
                        gradients = [-one for one in gradients]
                    self._update(group, parameters, gradients)
        return loss

    def _check(self, group: dict[str, Any]) -> None:
        """Refuse hyperparameters that make no sense."""

    def _update(self, group: dict[str, Any], parameters: list[Any], gradients: list[Any]) -> None:
        """Give the parameters their new values."""
        raise ArgumentTypeError(
            f"{type(self).__name__} defines neither step() nor _update(group, parameters, gradients)",
            fix="derive from UpdateRule, and write its rule",
        )

    # -- state ------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: {...}}, "param_groups": [...]}: PyTorch's layout, parameters by their number."""
        self._call_hooks("state_pre")
        number_of = {id(one): i for i, one in enumerate(self._all())}
        state = {
            number_of[id(one)]: {k: self._saved(k, v) for k, v in held.items()}
            for one, held in self.state.items()
            if held
        }
        groups = [
            {
                **{k: v for k, v in group.items() if k != "params"},
                "params": [number_of[id(one)] for one in group["params"]],
            }
            for group in self.param_groups
        ]
        made = {"state": dict(sorted(state.items())), "param_groups": copy.deepcopy(groups)}
        for hook in list(self._hooks.get("state_post", {}).values()):
            changed = hook(self, made)
            made = made if changed is None else changed
        return made

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`; its groups must have as many parameters as these, in the same order."""
        name = type(self).__name__
        if (
            not isinstance(state_dict, Mapping)
            or "state" not in state_dict
            or "param_groups" not in state_dict
        ):
            raise StateDictError(
                f"{name}.load_state_dict: not an optimizer's state",
                fix='expected the keys "state" and "param_groups"',
            )
        for hook in list(self._hooks.get("load_pre", {}).values()):
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        given = state_dict["param_groups"]
        counts, wanted = [len(g["params"]) for g in given], [len(g["params"]) for g in self.param_groups]
        if counts != wanted:
            raise StateDictError(f"{name}.load_state_dict: groups of {counts} parameters given, {wanted} expected",
                                 fix="build the optimizer over the same parameters as the saved one")  # fmt: skip
        mine = dict(zip((i for g in given for i in g["params"]), self._all(), strict=True))
        state: dict[Any, dict[str, Any]] = defaultdict(dict)
        for i, held in state_dict["state"].items():
            key = int(i) if isinstance(i, str) and i.isdigit() else i
            if key not in mine:
                raise StateDictError(f"{name}.load_state_dict: state of parameter {i!r}, which no group has")
            state[mine[key]] = {k: self._loaded(name, i, k, v, mine[key]) for k, v in held.items()}
        groups = []
        for old, new in zip(self.param_groups, given, strict=True):
            group = {**old, **{k: v for k, v in new.items() if k != "params"}, "params": old["params"]}
            self._check(group)
            groups.append(group)
        self.state, self.param_groups = state, groups
        self._call_hooks("load_post")

    def _all(self) -> Iterator[Any]:
        return (one for group in self.param_groups for one in group["params"])

    def _saved(self, key: str, value: Any) -> Any:
        """An entry of the state as `state_dict` gives it away."""
        # the methods are attached to Tensor
        return value.detach() if isinstance(value, TensorBase) else value  # type: ignore[attr-defined]

    def _loaded(self, who: str, i: Any, key: str, value: Any, owner: Any) -> Any:
        """An entry of a given state: arrays become tensors, on the parameter's device and floats in its dtype."""
        if isinstance(value, (list, tuple)):
            return type(value)([self._loaded(who, i, key, one, owner) for one in value])
        if not isinstance(value, TensorBase) and not hasattr(value, "__array__"):
            return value
        tensor: Any = (
            value if isinstance(value, TensorBase) else dispatch.from_data(value, None, owner.device)
        )
        tensor = tensor.detach().to(device=owner.device)
        if tensor.dtype is owner.dtype or tensor.dtype.kind != "f":
            return tensor
        return astype(tensor, owner.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_hooks": {}}

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])
