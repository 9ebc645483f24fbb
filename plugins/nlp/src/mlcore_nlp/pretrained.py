"""Models in folders as Hugging Face lays them out: config.json beside the weights, read and written."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import mlcore as ml
from mlcore import nn
from mlcore.compile.shape_only import shape_only
from mlcore.errors import ArgumentError, ArgumentTypeError, FormatError
from mlcore.io import FileError, MissingFileError, atomic_write, open_weights, strict_json

P = TypeVar("P", bound="Pretrained")
Settings = dict[str, Any]
CONFIG: Final = "config.json"
_LARGEST: Final = 1 << 24  # of the sizes in a config


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json in a folder says."""
    if not (folder / CONFIG).is_file():
        inside = folder.is_dir()
        raise MissingFileError(
            f"{folder} has no {CONFIG}" if inside else f"there is no folder {folder}",
            found=", ".join(sorted(one.name for one in folder.iterdir())[:12]) if inside else None,
            fix="pass the folder of a model: config.json, the weights, tokenizer.json",
        )
    return strict_json.read(folder / CONFIG)


def write_json(path: Path, content: Any) -> None:
    """Write plain data, whole or not at all."""
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


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
        config = read_config(place)
        cls._check_kind(config, place / CONFIG)
        with _told(cls, place / CONFIG):
            settings = {**cls.settings(config), **changes}
        model = cls.loaded(settings, place, device=device, dtype=dtype)
        if any((place / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
            from mlcore_nlp.tokenizer import Tokenizer

            model.tokenizer = Tokenizer.from_pretrained(place)
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
    def loaded(
        cls: type[P], settings: Settings, path: Path, *, device: Any = None, dtype: Any = None,
        renamed: Callable[[str], str] | None = None,
    ) -> P:  # fmt: skip
        """A model of these arguments with the weights of a file or folder; `renamed` None is the class's own."""
        to_ours = cls.renamed if renamed is None else renamed
        with open_weights(path) as weights:
            theirs = list(weights)
        names = {to_ours(name) for name in theirs}
        settings = cls.adapt(settings, names)
        new_head = bool(cls.head) and not any(_matches(name, cls.head) for name in names)
        with _told(cls, path / CONFIG if path.is_dir() else path):
            _check_sizes(settings, len(theirs))
            with shape_only():  # nothing is allocated for what a file only claims
                model = cls.made(settings)
        model = model.to(dtype=ml.float32 if dtype is None else dtype)
        model._convert(lambda one: _placeholder(one, device))
        own = set(model.state_dict())

        def ours(name: str) -> str | None:
            name = to_ours(name)
            return None if name not in own and _matches(name, cls.ignored) else name

        found = model.load_weights(path, ours, strict=not new_head)
        if found.unexpected_keys or any(not _matches(name, cls.head) for name in found.missing_keys):
            model.load_weights(path, ours)  # raises the table
        if new_head:
            model.draw_head()
        return model.eval()

    def draw_head(self) -> None:
        """Give new values to the parameters that `head` names."""

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json, model.safetensors and the tokenizer's files to a folder, which is made if need be.

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


def _check_sizes(settings: Settings, tensors: int) -> None:
    """Sizes that no model has, and more layers than there are tensors, are refused before anything is made of them."""
    for name, value in settings.items():
        most = tensors if name == "num_hidden_layers" else _LARGEST
        if isinstance(value, int) and not -1 <= value <= most:
            raise ArgumentError(f"{name} is {value}", cause=f"the file has {tensors} tensors")


def _placeholder(one: Any, device: Any) -> Any:
    """A tensor of the shape of `one` that takes the memory of one element, until a file's takes its place."""
    return ml.broadcast_to(ml.empty((), dtype=one.dtype, device=device), one.shape)


@contextlib.contextmanager
def _told(cls: type, path: Path) -> Iterator[None]:
    """Arguments that make no sense came from a file: the error says which."""
    try:
        yield
    except (ArgumentError, ArgumentTypeError) as error:
        raise FormatError(f"{path} makes no {cls.__name__}: {error.what}", **error.details) from error


def _fields(cls: type) -> tuple[Any, ...]:
    return dataclasses.fields(nn.config.kind(cls))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _modern(match: re.Match[str]) -> str:
    return "LayerNorm." + {"gamma": "weight", "beta": "bias"}[match[1]]
