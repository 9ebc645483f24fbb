"""Every MLCORE_* variable, declared once: its name, default, meaning and parser; and the cache folder.

A value comes from the environment, else from the user's configuration file (TOML, see `config_path`), else
from the default. Plugins declare theirs with `declare` (hook ``mlcore_config_variables``).

>>> FALLBACK.name, FALLBACK.choices
('MLCORE_FALLBACK', ('warn', 'error', 'allow'))
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast

from mlcore.errors import ArgumentError, did_you_mean

PREFIX: Final = "MLCORE_"
T = TypeVar("T")

log: Final = logging.getLogger("mlcore")


@dataclass(frozen=True, slots=True)
class Setting:
    """A variable's value as it stands now, and where it came from."""

    name: str
    value: Any
    origin: str  # 'environment', 'config file', 'default' or 'invalid'
    meaning: str
    owner: str = "mlcore"
    problem: str = ""

    @property
    def text(self) -> str:
        """The value as one would write it; ``-`` for none."""
        if isinstance(self.value, bool):
            return "on" if self.value else "off"
        if isinstance(self.value, tuple):
            return ",".join(map(str, self.value)) or "-"
        return "-" if self.value is None else str(self.value)


@dataclass(frozen=True, eq=False)
class Variable(Generic[T]):
    """One declared variable. `parse` turns its text into a value and raises ValueError when it cannot.

    >>> Variable("MLCORE_TOY_SIZE", 4, int, "size of the toy").get()
    4
    """

    name: str
    default: T
    parse: Callable[[str], T]
    meaning: str
    choices: tuple[str, ...] = ()
    owner: str = "mlcore"

    def raw(self) -> tuple[str, str]:
        """The text that decides and its origin; ('', 'default') when nobody set it."""
        text = os.environ.get(self.name, "").strip()
        if text:
            return text, "environment"
        text = user_config().get(self.name, "")
        return (text, "config file") if text else ("", "default")

    def get(self) -> T:
        """The value. Raises ArgumentError when the text that decides makes no sense."""
        text, origin = self.raw()
        return self.default if origin == "default" else self.read(text, origin)

    def read(self, text: str, origin: str = "environment") -> T:
        """`text` as a value of this variable, or ArgumentError saying what would have worked."""
        if self.choices and text not in self.choices:
            choices = ", ".join(self.choices)
            raise ArgumentError(
                f"{self.name}={text!r} is not one of {choices}{did_you_mean(text, self.choices)}",
                origin=_origin_text(origin),
                meaning=self.meaning,
            )
        try:
            return self.parse(text)
        except ValueError as error:
            raise ArgumentError(
                f"{self.name}={text!r} is not valid: {error}",
                origin=_origin_text(origin),
                meaning=self.meaning,
            ) from None

    def setting(self) -> Setting:
        """The value with its origin; a bad value is reported in `problem` instead of raised."""
        text, origin = self.raw()
        if origin == "default":
            return Setting(self.name, self.default, origin, self.meaning, self.owner)
        try:
            return Setting(self.name, self.read(text, origin), origin, self.meaning, self.owner)
        except ArgumentError as error:
            return Setting(self.name, text, "invalid", self.meaning, self.owner, error.what)


VARIABLES: Final[dict[str, Variable[Any]]] = {}


def declare(variable: Variable[T]) -> Variable[T]:
    """Enter `variable` in the table; declaring the same name twice keeps the first."""
    if not variable.name.startswith(PREFIX):
        raise ArgumentError(f"a variable's name starts with {PREFIX}, got {variable.name!r}")
    return cast("Variable[T]", VARIABLES.setdefault(variable.name, variable))


# ---------------------------------------------------------------- parsers


def as_bool(text: str) -> bool:
    """
    >>> as_bool("1"), as_bool("off")
    (True, False)
    """
    lowered = text.lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("0", "false", "no", "off"):
        return False
    raise ValueError("use 1 or 0")


def as_names(text: str) -> tuple[str, ...]:
    """A comma-separated list.

    >>> as_names("a, !b,")
    ('a', '!b')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def as_positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("use a whole number of at least 1")
    return int(text)


def as_seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError("use a positive number of seconds")
    return seconds


# ---------------------------------------------------------------- the table

DEVICE: Final = declare(
    Variable[str | None](
        "MLCORE_DEVICE",
        None,
        str,
        "default device: name, name:1, a list a,b, auto, auto,!name, dist/name, name?k=v",
    )
)
BACKENDS: Final = declare(
    Variable[tuple[str, ...]](
        "MLCORE_BACKENDS", (), as_names, "backends that may load: a,b (only these) or !a (all but)"
    )
)
FALLBACK: Final = declare(
    Variable(
        "MLCORE_FALLBACK",
        "warn",
        str,
        "what a host fallback does: warn once, raise, or pass",
        ("warn", "error", "allow"),
    )
)
CACHE_DIR: Final = declare(
    Variable[str | None]("MLCORE_CACHE_DIR", None, str, "folder of probe results, profiles and downloads")
)
ASSETS_DIR: Final = declare(
    Variable[str | None](
        "MLCORE_ASSETS_DIR", None, str, "folder of assets (default: assets/ in the cache folder)"
    )
)
OFFLINE: Final = declare(
    Variable("MLCORE_OFFLINE", False, as_bool, "1: fetch no asset, use those that are here")
)
NUM_THREADS: Final = declare(
    Variable[int | None](
        "MLCORE_NUM_THREADS", None, as_positive_int, "threads a backend may use; all cores by default"
    )
)
LOG: Final = declare(
    Variable(
        "MLCORE_LOG",
        "warning",
        str,
        "level of the logger 'mlcore'",
        ("debug", "info", "warning", "error", "critical"),
    )
)
PLUGINS: Final = declare(
    Variable("MLCORE_PLUGINS", True, as_bool, "off: load nothing from other distributions")
)
SAFE_PROBE: Final = declare(
    Variable("MLCORE_SAFE_PROBE", False, as_bool, "1: probe every backend in a child process")
)
PROBE_TIMEOUT: Final = declare(
    Variable("MLCORE_PROBE_TIMEOUT", 5.0, as_seconds, "seconds a probe in a child process may take")
)
OPEN_TIMEOUT: Final = declare(
    Variable(
        "MLCORE_OPEN_TIMEOUT",
        60.0,
        as_seconds,
        "seconds to open, in a child process, what crashed a process before",
    )
)
CONFIG: Final = declare(
    Variable[str | None]("MLCORE_CONFIG", None, str, "the user's configuration file, or off")
)


def settings() -> list[Setting]:
    """Every declared variable with its value and origin, in order of declaration.

    >>> [s.name for s in settings()][:2]
    ['MLCORE_DEVICE', 'MLCORE_BACKENDS']
    """
    return [variable.setting() for variable in VARIABLES.values()]


def unknown_variables() -> list[str]:
    """A line for each MLCORE_* name that nobody declared, in the environment or the configuration file."""
    known = [name.removeprefix(PREFIX) for name in VARIABLES]

    def meant(name: str) -> str:  # without the prefix, which all share
        near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
        return f"; did you mean '{PREFIX}{near[0]}'?" if near else ""

    return [
        f"{name} is set in the {where}, but no such variable exists{meant(name)}"
        for where, names in (("environment", os.environ), ("configuration file", user_config()))
        for name in sorted(names)
        if name.startswith(PREFIX) and name not in VARIABLES and not name.startswith(f"{PREFIX}_")
    ]


# ---------------------------------------------------------------- the user's configuration file

_file: tuple[str, dict[str, str], str] | None = None  # (path as asked, values, problem)


def config_path() -> Path | None:
    """Where the user's configuration file is looked for: MLCORE_CONFIG, else the platform's folder."""
    asked = os.environ.get(CONFIG.name, "").strip()
    if asked.lower() in ("off", "none"):
        return None
    if asked:
        return Path(asked).expanduser()
    return (
        _platform_folder("XDG_CONFIG_HOME", ".config", "Library/Application Support", "APPDATA")
        / "config.toml"
    )


def user_config() -> dict[str, str]:
    """The file's values as texts by variable name: ``num_threads = 2`` is MLCORE_NUM_THREADS=2, and a table
    ``[toy]`` with ``size = 3`` is MLCORE_TOY_SIZE=3. Read once; `reload` reads again."""
    global _file
    if _file is None:
        _file = _read_config()
        if _file[2]:
            log.warning("%s", _file[2])
    return _file[1]


def config_problem() -> str:
    """Why the configuration file could not be used, or an empty text."""
    user_config()
    return _file[2] if _file else ""


def reload() -> None:
    """Forget the configuration file, so that the next question reads it again."""
    global _file
    _file = None


def _read_config() -> tuple[str, dict[str, str], str]:
    path = config_path()
    if path is None or not (path.exists() or os.environ.get(CONFIG.name)):
        return "", {}, ""
    import tomllib  # 3 ms, and most people have no such file

    try:
        values = _flatten(tomllib.loads(path.read_text(encoding="utf-8")), PREFIX)
    except FileNotFoundError:
        return str(path), {}, f"MLCORE_CONFIG names {path}, which does not exist"
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return str(path), {}, f"the configuration file {path} was ignored: {error}"
    return str(path), values, ""


def _flatten(table: dict[str, Any], prefix: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for key, value in table.items():
        name = prefix + key.upper().replace("-", "_")
        if isinstance(value, dict):
            values.update(_flatten(value, name + "_"))
        elif isinstance(value, bool):
            values[name] = "1" if value else "0"
        elif isinstance(value, list):
            values[name] = ",".join(map(str, value))
        else:
            values[name] = str(value)
    return values


def _origin_text(origin: str) -> str:
    return f"config file {config_path()}" if origin == "config file" else origin


def _platform_folder(variable: str, unix: str, mac: str, windows: str) -> Path:
    if sys.platform == "win32":
        base = Path(os.environ.get(windows) or "~").expanduser()
    elif sys.platform == "darwin":
        base = Path("~").expanduser() / mac
    else:
        base = Path(os.environ.get(variable) or Path("~").expanduser() / unix)
    return base / "mlcore"


# ---------------------------------------------------------------- the cache folder


def cache_dir() -> Path:
    """The cache folder, which need not exist: MLCORE_CACHE_DIR, else the platform's.

    Everything in it may be deleted at any time; a folder that cannot be written makes nothing fail.
    """
    asked = CACHE_DIR.get()
    if asked:
        return Path(asked).expanduser()
    return _platform_folder("XDG_CACHE_HOME", ".cache", "Library/Caches", "LOCALAPPDATA")


def cache_problem() -> str:
    """Why the cache folder cannot be written, or an empty text."""
    return "" if write_cache("writable", b"") else f"the cache folder {cache_dir()} cannot be written"


def read_cache(name: str) -> bytes | None:
    """The content of a cache file, or None when there is none to read."""
    try:
        return (cache_dir() / name).read_bytes()
    except OSError:
        return None


def write_cache(name: str, data: bytes) -> bool:
    """Write a cache file whole or not at all; False when it cannot be written."""
    import tempfile  # 8 ms, and many programs write nothing here

    path = cache_dir() / name
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError as error:
        log.debug("cache file %s not written: %s", path, error)
        if temporary:
            remove_files([temporary])
        return False
    return True


def read_cache_json(name: str) -> dict[str, Any]:
    """A cache file that holds a JSON object; an absent or corrupt one reads as empty."""
    import json

    data = read_cache(name)
    if data is None:
        return {}
    try:
        content = json.loads(data)
    except ValueError:  # bad JSON and bad UTF-8 alike
        log.debug("cache file %s is corrupt and ignored", name)
        return {}
    return content if isinstance(content, dict) else {}


def write_cache_json(name: str, content: dict[str, Any]) -> bool:
    """Write a JSON object as a cache file; False when it cannot be written."""
    import json

    return write_cache(name, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def remove_files(paths: Iterable[str | Path]) -> None:
    """Remove files, whether or not they are there."""
    for path in paths:
        try:
            os.unlink(path)
        except OSError:
            continue


# ---------------------------------------------------------------- logging


def set_log_level() -> None:
    """Apply MLCORE_LOG. Asked for by name, messages go to stderr unless the program has set up logging."""
    setting = LOG.setting()
    level = LOG.default if setting.problem else setting.value
    log.setLevel(level.upper())
    if setting.problem:
        log.warning("%s", setting.problem)
    if setting.origin != "default" and not logging.getLogger().handlers and not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)s %(levelname)s: %(message)s"))
        log.addHandler(handler)


set_log_level()
