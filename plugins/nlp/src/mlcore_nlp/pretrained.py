"""Models in folders as Hugging Face lays them out: config.json beside the weights, read and written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn, TypeVar

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, ArgumentTypeError, FormatError
from mlcore.io import FileError, MissingFileError, atomic_write
from mlcore.nn.shape_only import shape_only

P = TypeVar("P", bound="Pretrained")
Settings = dict[str, Any]
MAX_JSON: Final = 64 << 20
CONFIG: Final = "config.json"


def read_json(path: Path) -> dict[str, Any]:
    """The table in a JSON file. Raises `FileError`, and `FormatError` for what is no table of plain values."""

    def refuse(name: str) -> NoReturn:
        raise ValueError(f"it holds {name}")

    try:
        size = path.stat().st_size
        if size > MAX_JSON:
            raise FormatError(f"{path} has {size} bytes", cause=f"at most {MAX_JSON} are read of a JSON file")
        text = path.read_bytes()
    except FileNotFoundError:
        inside = path.parent.is_dir()
        raise MissingFileError(
            f"{path} is missing" if inside else f"there is no folder {path.parent}",
            found=", ".join(sorted(one.name for one in path.parent.iterdir())[:12]) if inside else None,
            fix="pass the folder of a model: config.json, the weights, tokenizer.json",
        ) from None
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from error
    try:
        found = json.loads(text.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no JSON: {str(error)[:120]}", fix="fetch it again") from None
    if not isinstance(found, dict):
        raise FormatError(f"{path} holds a {type(found).__name__}", fix="a table was expected")
    return found


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a table, whole or not at all."""
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_weights(folder: Path) -> Mapping[str, Any]:
    """The tensors of a folder by name: model.safetensors, or several with an index, or pytorch_model.bin."""
    return ml.load(folder / "model.safetensors")


class Pretrained(nn.Module):
    """Base of the models here: what they share is how they come from a folder and go to one."""

    model_type: ClassVar[str]
    """What config.json calls the family."""
    ignored: ClassVar[tuple[str, ...]] = ()
    """Patterns of names that a file may have beyond the model's own, such as those of heads it has not."""
    head: ClassVar[tuple[str, ...]] = ()
    """Patterns of parameters that are drawn anew where a file has none of them: those of a head to be trained."""
    base_prefix: ClassVar[str] = ""
    """What names begin with in files of models that hold this one as a part; taken away."""
    tokenizer: Any = None
    """The tokenizer that came with the weights, or None."""

    # -- what a model of a family says about itself ------------------------------------------------------------

    @classmethod
    def settings(cls, config: Mapping[str, Any]) -> Settings:
        """The constructor's arguments that a config.json holds."""
        known = {field.name for field in _fields(cls)}
        return {name: value for name, value in config.items() if name in known}

    @classmethod
    def adapt(cls, settings: Settings, names: set[str]) -> Settings:
        """The arguments, changed by which tensors there are."""
        return settings

    @classmethod
    def made(cls: type[P], settings: Settings) -> P:
        """A model from arguments, whose types are checked."""
        model: P = nn.config.kind(cls)(**settings).build()
        return model

    def config(self) -> dict[str, Any]:
        """What config.json says of this model."""
        described = nn.config.of(self)
        return {field.name: getattr(described, field.name) for field in _fields(type(self))}

    @classmethod
    def renamed(cls, name: str) -> str:
        """A name in a file as the model has it: old files say gamma and beta for weight and bias."""
        if cls.base_prefix and name.startswith(cls.base_prefix):
            name = name[len(cls.base_prefix) :]
        return re.sub(r"LayerNorm\.(gamma|beta)$", _modern, name)

    # -- folders -------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls: type[P], folder: str | os.PathLike[str], *, device: Any = None, dtype: Any = None, **changes: Any
    ) -> P:
        """The model in a Hugging Face folder, in evaluation mode, with its tokenizer if there is one.

        `dtype` None is float32, whatever the file holds. `changes` replace what config.json says, such as
        `hidden_dropout_prob=0.0`. Nothing is run from the folder and nothing is fetched.

        Raises `MissingFileError` for a folder or file that is not there, `FormatError` for a config.json that makes
        no sense or is of another kind of model, `StateDictError` with one table where the weights do not fit.
        """
        place = Path(folder)
        config = read_json(place / CONFIG)
        cls._check_kind(config, place / CONFIG)
        model = cls.assembled({**cls.settings(config), **changes}, read_weights(place), device, dtype, place)
        model._take_tokenizer(place)
        return model

    @classmethod
    def _check_kind(cls, config: Mapping[str, Any], place: Path) -> None:
        kind = config.get("model_type")
        if kind != cls.model_type:
            raise FormatError(
                f"{place} is of a model of type {kind!r}",
                cause=f"{cls.__name__} reads {cls.model_type!r}",
                fix="use mlcore_nlp.from_pretrained(folder), which picks the class",
            )

    @classmethod
    def assembled(
        cls: type[P], settings: Settings, tensors: Mapping[str, Any], device: Any, dtype: Any, place: Path
    ) -> P:
        """A model of these arguments and tensors."""
        tensors = {cls.renamed(name): one for name, one in tensors.items()}
        settings = cls.adapt(settings, set(tensors))
        new_head = bool(cls.head) and not any(_matches(name, cls.head) for name in tensors)
        try:
            if new_head:
                model = cls.made(settings)
            else:
                with shape_only():
                    model = cls.made(settings)
        except (ArgumentError, ArgumentTypeError) as error:
            raise FormatError(
                f"{place}: its settings make no {cls.__name__}: {error.what}", **error.details
            ) from error
        own = model.state_dict()
        given = {
            name: one for name, one in tensors.items() if name in own or not _matches(name, cls.ignored)
        }
        if new_head:
            given = {**{name: one for name, one in own.items() if _matches(name, cls.head)}, **given}
        target = ml.float32 if dtype is None else dtype
        ready = {name: _moved(one, device, target) for name, one in given.items()}
        model.load_state_dict(ready, assign=True)
        return model.eval()

    def _take_tokenizer(self, folder: Path) -> None:
        if (folder / "tokenizer.json").is_file():
            from mlcore_nlp.tokenizer import Tokenizer

            self.tokenizer = Tokenizer.from_pretrained(folder)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json, model.safetensors and, if there is a tokenizer, its files to a folder; it is made if need be.

        Hugging Face's libraries read it too.
        """
        place = Path(folder)
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"cannot make the folder {place}: {error.strerror}") from error
        ml.save(self.state_dict(), place / "model.safetensors", {"format": "pt"})
        kinds = {str(one.dtype) for one in self.parameters()}
        write_json(
            place / CONFIG,
            {
                "architectures": [type(self).__name__],
                "model_type": self.model_type,
                "dtype": kinds.pop() if len(kinds) == 1 else "float32",
                **self.config(),
            },
        )
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(place)


def _moved(value: Any, device: Any, dtype: Any) -> Any:
    """A tensor on the device, of the dtype where it is floating."""
    tensor = ml.asarray(value, device=device)
    return tensor.to(dtype=dtype) if tensor.dtype.kind == "f" else tensor


def _fields(cls: type) -> tuple[Any, ...]:
    import dataclasses

    return dataclasses.fields(nn.config.kind(cls))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _modern(match: re.Match[str]) -> str:
    return "LayerNorm." + {"gamma": "weight", "beta": "bias"}[match[1]]


_ARCHITECTURES: Final[dict[str, Callable[[], type[Pretrained]]]] = {}
