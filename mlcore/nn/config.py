"""Modules as configuration: frozen dataclasses made from constructors' signatures, written to and read from TOML.

`of(module)` says how a module was made; `build()` makes another one, with weights of its own. The fields of a
`Linear`'s configuration are the parameters of `Linear.__init__`, and so for everybody's modules: nothing is declared.
Containers are described by what they hold now. Whatever else was changed after a module was made is not seen.

>>> from mlcore import nn
>>> made = nn.config.of(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2, bias=False)))
>>> print(made.to_toml())
type = "Sequential"
<BLANKLINE>
[[args]]
type = "Linear"
in_features = 4
out_features = 8
<BLANKLINE>
[[args]]
type = "ReLU"
<BLANKLINE>
[[args]]
type = "Linear"
in_features = 8
out_features = 2
bias = false
>>> nn.config.from_toml(made.to_toml()) == made, made.build()[2]
(True, Linear(in_features=8, out_features=2, bias=False))
>>> nn.config.kind(nn.Linear)(3, 5).replace(bias=False).build()
Linear(in_features=3, out_features=5, bias=False)
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeVar

from mlcore.backends.device import Device
from mlcore.dtype import DType
from mlcore.dtypes import as_dtype
from mlcore.errors import ArgumentError, ArgumentTypeError, FormatError, did_you_mean
from mlcore.nn.containers import ModuleDict, ModuleList, Sequential
from mlcore.nn.made import Made, Opaque, plain
from mlcore.nn.module import Module
from mlcore.nn.toml import dump

C = TypeVar("C", bound="Config")
_CHECKED: Final = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "None": (type(None),),
}
_TYPE: Final = "type"
_KINDS: Final[dict[type, Any]] = {}  # the dataclasses made so far


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of all configurations: how one module is made. Equal ones make equal modules, but for the weights."""

    module: ClassVar[type[Module]] = Module
    _signature: ClassVar[inspect.Signature]

    def __post_init__(self) -> None:
        for name, parameter in self._signature.parameters.items():
            value = getattr(self, name)
            object.__setattr__(self, name, _described(value, f"{self.module.__name__}: {name}"))
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                _check_type(self.module.__name__, name, parameter.annotation, value)

    def build(self) -> Any:
        """A new module."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        spread = any(p.kind is p.VAR_POSITIONAL for p in self._signature.parameters.values())
        for name, parameter in self._signature.parameters.items():
            value = _built(getattr(self, name))
            if parameter.kind is parameter.VAR_POSITIONAL:
                args += value
            elif parameter.kind is parameter.VAR_KEYWORD:
                kwargs |= value
            elif parameter.kind is parameter.POSITIONAL_ONLY or (
                spread and parameter.kind is not parameter.KEYWORD_ONLY
            ):
                args.append(value)
            else:
                kwargs[name] = value
        return self.module(*args, **kwargs)

    def replace(self: C, **changes: Any) -> C:
        """The same with other values."""
        _known_fields(type(self), changes)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values (text, numbers, lists, dicts); what is as the constructor's default is left out."""
        found: dict[str, Any] = {_TYPE: _name_of(self.module)}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            default = (
                field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            )
            if not (type(value) is type(default) and value == default):
                found[field.name] = _encoded(value)
        return found

    def to_toml(self) -> str:
        """`to_dict` as TOML."""
        return dump(self.to_dict())


def of(module: Module) -> Config:
    """The configuration of a module.

    >>> from mlcore import nn
    >>> nn.config.of(nn.Dropout(0.1))
    DropoutConfig(p=0.1, inplace=False)
    """
    if not isinstance(module, Module):
        raise ArgumentTypeError(f"config.of: a {type(module).__name__} is not a Module", fix="pass a network")
    made: Any = module.__dict__.get("_made")
    init: Any = type(module).__init__
    if init in _CONTAINERS:
        described: Config = kind(type(module))(*_CONTAINERS[init](module))
        return described
    if not isinstance(made, Made):
        raise ArgumentError(f"config.of: it is not known how this {type(module).__name__} was made")
    return _of_made(made)


def _of_made(made: Made) -> Config:
    cls = kind(made.kind)
    try:
        bound = cls._signature.bind(*made.args, **made.kwargs)
    except TypeError as error:
        raise ArgumentTypeError(f"{made.kind.__name__}: {error}", expects=str(cls._signature)) from None
    described: Config = cls(**bound.arguments)
    return described


_CONTAINERS: Final[dict[Any, Callable[[Any], tuple[Any, ...]]]] = {
    Sequential.__init__: lambda held: (_members(held),),
    ModuleList.__init__: lambda held: (tuple(of(one) for one in held),),
    ModuleDict.__init__: lambda held: ({name: of(one) for name, one in held.items()},),
}


def _members(held: Any) -> tuple[Any, ...]:
    names = held._names()
    if all(name.isdecimal() for name in names):
        return tuple(of(one) for one in held)
    return ({name: of(one) for name, one in zip(names, held, strict=True)},)


def kind(cls: Any) -> Any:
    """The frozen dataclass of a Module class: a field for each parameter of its constructor.

    >>> from mlcore import nn
    >>> [field.name for field in dataclasses.fields(nn.config.kind(nn.Linear))][:3]
    ['in_features', 'out_features', 'bias']
    """
    if not (isinstance(cls, type) and issubclass(cls, Module)):
        raise ArgumentTypeError(f"config.kind: {cls!r} is not a Module class", fix="pass the class")
    if cls in _KINDS:
        return _KINDS[cls]
    whole = inspect.signature(cls.__init__)
    signature = whole.replace(parameters=list(whole.parameters.values())[1:])
    fields = [_field(parameter) for parameter in signature.parameters.values()]
    space = {
        "module": cls,
        "_signature": signature,
        "__module__": __name__,
        "__doc__": f"How a {cls.__name__} is made.",
    }
    _KINDS[cls] = dataclasses.make_dataclass(
        f"{cls.__name__}Config", fields, bases=(Config,), frozen=True, namespace=space
    )
    return _KINDS[cls]


def _field(parameter: inspect.Parameter) -> tuple[str, Any, Any]:
    later = parameter.kind is parameter.KEYWORD_ONLY
    if parameter.kind is parameter.VAR_POSITIONAL:
        return parameter.name, tuple, dataclasses.field(default=())
    if parameter.kind is parameter.VAR_KEYWORD:
        return parameter.name, dict, dataclasses.field(default_factory=dict, kw_only=True)
    if parameter.default is parameter.empty:
        return parameter.name, parameter.annotation, dataclasses.field(kw_only=later)
    default = _described(parameter.default, parameter.name)
    if isinstance(default, dict):
        return (
            parameter.name,
            parameter.annotation,
            dataclasses.field(default_factory=default.copy, kw_only=later),
        )
    return parameter.name, parameter.annotation, dataclasses.field(default=default, kw_only=later)


def _check_type(who: str, name: str, annotation: Any, value: Any) -> None:
    """Hold a value against an annotation of plain types; others are left to the constructor."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    words = text.replace(" ", "").split("|")
    if not all(word in _CHECKED for word in words):
        return
    allowed = [one for word in words for one in _CHECKED[word]]
    if not isinstance(value, tuple(allowed)) or (isinstance(value, bool) and bool not in allowed):
        raise ArgumentTypeError(f"{who}: {name} is a {type(value).__name__}: {value!r}", fix=f"give {text}")


def _described(value: Any, who: str) -> Any:
    """A value as a configuration holds it: modules as configurations, lists as tuples."""
    if isinstance(value, Config):
        return value
    if isinstance(value, Made):
        return _of_made(value)
    if isinstance(value, Module):
        return of(value)
    if isinstance(value, Opaque):
        raise ArgumentTypeError(
            f"config: {who} is a {value.kind}", cause="a configuration holds numbers, text, dtypes and modules",
            fix="make the module without it, and load its values from a state_dict",
        )  # fmt: skip
    if isinstance(value, (tuple, list)):
        return tuple(_described(one, who) for one in value)
    if isinstance(value, Mapping):
        return {key: _described(one, who) for key, one in value.items()}
    found = plain(value)
    return _described(found, who) if isinstance(found, Opaque) else found


def _built(value: Any) -> Any:
    if isinstance(value, Config):
        return value.build()
    if isinstance(value, tuple):
        return tuple(map(_built, value))
    return {key: _built(one) for key, one in value.items()} if isinstance(value, dict) else value


# -- plain values ------------------------------------------------------------------------------------------------


def _name_of(one: Any) -> str:
    """`Linear` for what `mlcore.nn` has, `package.module:Name` for the rest."""
    home = sys.modules["mlcore.nn"]
    name = one.__qualname__
    return name if getattr(home, name, None) is one else f"{one.__module__}:{name}"


def _encoded(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    if value is None:
        return {_TYPE: "none"}
    if isinstance(value, DType):
        return {_TYPE: "dtype", "name": value.name}
    if isinstance(value, Device):
        return {_TYPE: "device", "name": value.id}
    if isinstance(value, tuple):
        return [_encoded(one) for one in value]
    if isinstance(value, dict):
        if _TYPE in value or not all(isinstance(key, str) for key in value):
            raise ArgumentError("config: a dict whose keys are not text, or are 'type'", fix="use other keys")
        return {key: _encoded(one) for key, one in value.items()}
    if isinstance(value, (bool, int, float, str)):
        return value
    return {_TYPE: "object", "name": _name_of(value)}


def from_dict(given: Mapping[str, Any], known: Iterable[Any] = ()) -> Config:
    """The configuration that `to_dict` wrote.

    Nothing is imported: a class outside `mlcore.nn` is looked for in `known` and in modules that are loaded already.
    """
    found = _decoded(given, {_name_of(one): one for one in known}, "")
    if not isinstance(found, Config):
        raise ArgumentTypeError(
            "config: this describes no module", fix="give a dict with a 'type', as to_dict() writes it"
        )
    return found


def from_toml(text: str, known: Iterable[Any] = ()) -> Config:
    """The configuration that `to_toml` wrote; see `from_dict`."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"config: not TOML: {error}") from error
    return from_dict(given, known)


def _decoded(value: Any, known: dict[str, Any], path: str) -> Any:
    if isinstance(value, Mapping):
        if _TYPE not in value:
            return {key: _decoded(one, known, f"{path}.{key}") for key, one in value.items()}
        return _typed(dict(value), known, path)
    if isinstance(value, (list, tuple)):
        return tuple(_decoded(one, known, f"{path}[{i}]") for i, one in enumerate(value))
    return value


def _typed(given: dict[str, Any], known: dict[str, Any], path: str) -> Any:
    name = given.pop(_TYPE)
    if name == "none":
        return None
    if name == "dtype":
        return as_dtype(given.get("name"))
    if name == "device":
        return given.get("name")
    if name == "object":
        return _found(str(given.get("name")), known, path, lambda one: callable(one))
    cls = kind(_found(str(name), known, path, lambda one: isinstance(one, type) and issubclass(one, Module)))
    _known_fields(cls, given, path)
    values = {key: _decoded(one, known, f"{path}.{key}") for key, one in given.items()}
    missing = [
        field.name for field in dataclasses.fields(cls) if _required(field) and field.name not in values
    ]
    if missing:
        raise ArgumentTypeError(f"config{_at(path)}: {name} needs {', '.join(missing)}")
    return cls(**values)


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _at(path: str) -> str:
    return f", at {path.lstrip('.')}" if path else ""


def _known_fields(cls: Any, given: Mapping[str, Any], path: str = "") -> None:
    names = [field.name for field in dataclasses.fields(cls)]
    for one in given:
        if one not in names:
            raise ArgumentError(
                f"config{_at(path)}: {cls.module.__name__} has no argument {one!r}{did_you_mean(one, names)}",
                known=", ".join(names),
            )


def _found(name: str, known: dict[str, Any], path: str, fits: Callable[[Any], bool]) -> Any:
    """What a name stands for: in `known`, in mlcore.nn, or in a module that is loaded."""
    home = sys.modules["mlcore.nn"]
    module, colon, below = name.partition(":")
    found: Any = known.get(name)
    if found is None:
        found = sys.modules.get(module) if colon else home
        for part in (below if colon else name).split("."):
            found = getattr(found, part, None)
    if found is None or not fits(found):
        raise ArgumentError(
            f"config{_at(path)}: there is no module {name!r}{did_you_mean(name, _names(home))}",
            fix="import it first, or pass it in known="
            if colon
            else "use a name of mlcore.nn, or package.module:Name",
        )
    return found


def _names(home: Any) -> Iterator[str]:
    return (name for name in home.__all__ if isinstance(getattr(home, name), type))
