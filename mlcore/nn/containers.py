"""Sequential, lists and dicts of modules and of parameters: modules that hold others under numbers or names."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlcore.errors import ArgumentError, ArgumentTypeError, OutOfRangeError, did_you_mean
from mlcore.nn import fusion
from mlcore.nn.calling import members_of
from mlcore.nn.module import Module, _indent
from mlcore.nn.old_names import warn
from mlcore.nn.parameter import Parameter


class _Numbered(Module):
    """Members under the names '0', '1', ..."""

    _kind: type = Module

    def _items(self) -> list[Any]:
        return members_of(self, self._kind)

    def _names(self) -> list[str]:
        return [name for name, one in self.__dict__.items() if isinstance(one, self._kind)]

    def _checked(self, member: Any) -> Any:
        if not isinstance(member, self._kind):
            raise ArgumentTypeError(
                f"{type(self).__name__}: member {len(self)} is a {type(member).__name__}, not a {self._kind.__name__}",
                fix="pass modules" if self._kind is Module else "wrap it: nn.Parameter(tensor)",
            )
        return member

    def _place(self, index: Any) -> int:
        place, size = operator.index(index), len(self)
        if not -size <= place < size:
            raise OutOfRangeError(f"{type(self).__name__}: index {place} out of range for {size} members")
        return place % size

    def _renumber(self, members: list[Any]) -> None:
        for name in self._names():
            del self.__dict__[name]
        for i, one in enumerate(members):
            self.__dict__[str(i)] = one

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items())

    def __contains__(self, member: object) -> bool:
        return any(one is member for one in self._items())

    def _sliced(self, members: list[Any]) -> Any:
        make: Any = type(self)
        return make(members)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._sliced(self._items()[index])
        return self._items()[self._place(index)]

    def __setitem__(self, index: int, member: Any) -> None:
        setattr(self, self._names()[self._place(index)], self._checked(member))

    def __delitem__(self, index: Any) -> None:
        members = self._items()
        del members[index if isinstance(index, slice) else self._place(index)]
        self._renumber(members)

    def append(self, member: Any) -> Any:
        """Add one at the end."""
        setattr(self, str(len(self)), self._checked(member))
        return self

    def extend(self, members: Iterable[Any]) -> Any:
        """Add several at the end."""
        for one in list(members):
            self.append(one)
        return self

    def insert(self, index: int, member: Any) -> Any:
        """Put one before place `index`."""
        members = self._items()
        members.insert(index, self._checked(member))
        self._renumber(members)
        return self

    def pop(self, index: int = -1) -> Any:
        """Take one out."""
        member = self[index]
        del self[index]
        return member


class Sequential(_Numbered):
    """Modules that are called one after the other, each with what the one before returned.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))(ml.zeros((3, 4))).shape
    (3, 2)
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, one in args[0].items():
                self.register_module(name, self._checked(one))
        else:
            for one in args:
                self.append(one)

    def _sliced(self, members: list[Any]) -> Any:
        names = [name for name, one in self.__dict__.items() if any(one is m for m in members)]
        if names and not names[0].isdigit():
            return type(self)(OrderedDict(zip(names, members, strict=True)))
        return type(self)(*members)

    def forward(self, input: Any) -> Any:
        return fusion.run(self._items(), input)


class Container(Module):
    """PyTorch's deprecated holder of modules given by name; a Module holds them by itself."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        warn("nn.Container", "nn.Module or nn.ModuleDict")
        for name, one in kwargs.items():
            self.register_module(name, one)


class ModuleList(_Numbered):
    """A list of modules whose parameters belong to the module that holds it. It has no forward of its own.

    >>> from mlcore import nn
    >>> layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    >>> len(layers), len(list(layers.parameters()))
    (3, 6)
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def _child_lines(self) -> list[str]:
        """Equal neighbours on one line, as PyTorch shows them."""
        groups: list[tuple[int, int, str]] = []
        for i, text in enumerate(map(repr, self._items())):
            if groups and groups[-1][2] == text:
                groups[-1] = (groups[-1][0], i, text)
            else:
                groups.append((i, i, text))
        return [
            f"({a}): {_indent(text)}" if a == b else f"({a}-{b}): {b - a + 1} x {_indent(text)}"
            for a, b, text in groups
        ]


class ParameterList(_Numbered):
    """A list of parameters that belong to the module that holds it; other tensors are made parameters.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> [name for name, _ in nn.ParameterList([ml.zeros((2,)), ml.ones((3,))]).named_parameters()]
    ['0', '1']
    """

    _kind = Parameter

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        if values is not None:
            self.extend(values)

    def _checked(self, member: Any) -> Any:
        return member if isinstance(member, Parameter) else Parameter(member)

    def _child_lines(self) -> list[str]:
        return [
            f"({name}): Parameter containing: [{p.dtype} of size {p.shape}]"
            for name, p in self._own_parameters()
        ]


class _Named(Module):
    """A dict of members under names of one's choice; derived classes say what a member is."""

    _kind: type = Module
    _noun = "module"

    def __init__(self, members: Any = None) -> None:
        super().__init__()
        if members is not None:
            self.update(members)

    def _held(self) -> dict[str, Any]:
        return {name: one for name, one in self.__dict__.items() if isinstance(one, self._kind)}

    def __getitem__(self, key: str) -> Any:
        held = self._held()
        if key not in held:
            raise ArgumentError(
                f"{type(self).__name__}: no {self._noun} {key!r}{did_you_mean(str(key), held)}",
                known=", ".join(held),
            )
        return held[key]

    def __setitem__(self, key: str, member: Any) -> None:
        raise ArgumentTypeError(f"{type(self).__name__} does not define __setitem__")

    def __delitem__(self, key: str) -> None:
        self[key]
        del self.__dict__[key]

    def __len__(self) -> int:
        return len(self._held())

    def __iter__(self) -> Iterator[str]:
        return iter(self._held())

    def __contains__(self, key: object) -> bool:
        return key in self._held()

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._held().keys()

    def values(self) -> Iterable[Any]:
        """The members."""
        return self._held().values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """(name, member)."""
        return self._held().items()

    def update(self, members: Any) -> None:
        """Add those of a mapping, or of pairs."""
        for key, one in members.items() if hasattr(members, "items") else members:
            self[key] = one

    def pop(self, key: str) -> Any:
        """Take one out."""
        found = self[key]
        del self[key]
        return found

    def clear(self) -> None:
        """Take all out."""
        for key in list(self._held()):
            del self[key]


class ModuleDict(_Named):
    """Modules under names of one's choice. It has no forward of its own.

    >>> from mlcore import nn
    >>> heads = nn.ModuleDict({"a": nn.Linear(2, 1), "b": nn.Linear(2, 3)})
    >>> list(heads), "a" in heads, heads["b"].out_features
    (['a', 'b'], True, 3)
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__(modules)

    def __setitem__(self, key: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise ArgumentTypeError(f"ModuleDict: {key!r} is a {type(module).__name__}, not a Module")
        self.register_module(key, module)


class ParameterDict(_Named):
    """Parameters under names of one's choice; other tensors are made parameters.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> table = nn.ParameterDict({"left": ml.zeros((2,)), "right": ml.ones((3,))})
    >>> list(table), table["right"].shape, [name for name, _ in table.named_parameters()]
    (['left', 'right'], (3,), ['left', 'right'])
    """

    _kind = Parameter
    _noun = "parameter"

    def __init__(self, parameters: Any = None) -> None:
        super().__init__(parameters)

    def __setitem__(self, key: str, parameter: Any) -> None:
        self.register_parameter(key, parameter if isinstance(parameter, Parameter) else Parameter(parameter))

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._held()))

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter of that name, or `default`."""
        return self._held().get(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The parameter of that name, which becomes `default` if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def popitem(self) -> tuple[str, Any]:
        """Take out the last one."""
        key = list(self._held())[-1]
        return key, self.pop(key)

    def copy(self) -> ParameterDict:
        """Another one with the same parameters."""
        return ParameterDict(self._held())

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A new one with these names, all with the value `default`."""
        return ParameterDict((key, default) for key in keys)
