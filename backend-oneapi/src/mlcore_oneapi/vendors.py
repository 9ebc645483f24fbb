"""Where the OpenCL drivers are, and the one place that touches the environment which a loader reads.

An OpenCL loader finds drivers through ``.icd`` files, each of which names a library. Intel's runtime for processors,
installed from pip, has such a file only with a placeholder in it, so that nothing finds it. Whoever installed it into
this environment wants it: a folder is made in the cache that holds the system's files and one for that library, and
the loader is pointed there. Nothing is hidden by it, and what the user has set himself is left alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlcore import config
from mlcore.plugin import probes

SYSTEM: Final = "/etc/OpenCL/vendors"
VARIABLE: Final = "OCL_ICD_VENDORS"  # read by ocl-icd, which comes with pyopencl, and by Khronos' loader
SET_BY_USERS: Final = (VARIABLE, "OCL_ICD_FILENAMES", "OPENCL_VENDOR_PATH")
RUNTIME: Final = "intel-opencl-rt"
COMPANION: Final = "intel-cmplr-lib-rt"  # Intel's runtime needs its libraries, and does not say so

PLATFORM: Final = config.declare(
    config.Variable[str | None](
        "MLCORE_ONEAPI_PLATFORM", None, str, "OpenCL platforms to use: part of a platform's name, such as intel",
        owner="mlcore-oneapi",
    )
)  # fmt: skip
KNOWN: Final = {"pocl": "portable computing language"}  # what people call a platform whose name is another


@dataclass(frozen=True, slots=True)
class Driver:
    """One driver: the file that names it, its library, and why it cannot be used (empty: it can be tried)."""

    file: str
    library: str
    problem: str = ""
    fix: str = ""


def matches(platform: str, wanted: str | None) -> bool:
    """Whether a platform's name is what MLCORE_ONEAPI_PLATFORM asks for.

    >>> matches("Portable Computing Language", "pocl"), matches("Intel(R) OpenCL", "pocl")
    (True, False)
    """
    return not wanted or KNOWN.get(wanted.lower(), wanted.lower()) in platform.lower()


def drivers(env: Mapping[str, str] | None = None) -> list[Driver]:
    """The drivers that a loader would find, Intel's from pip included."""
    env = os.environ if env is None else env
    if sys.platform in ("win32", "darwin"):  # the system's own loader and registry
        name = probes.library("OpenCL")
        return [Driver(name, name)] if name else []
    found = [_driver(path) for path in _files(env)]
    if not _set_by_user(env):
        library = pip_runtime()
        if library is not None and not any(Path(one.library) == library for one in found):
            found.append(_pip_driver(library))
    return found


def pip_runtime() -> Path | None:
    """The library of Intel's runtime in this environment, or None."""
    if probes.installed_version(RUNTIME) is None:
        return None
    for folder in (Path(sys.prefix, "lib"), Path(sys.prefix, "Library", "lib")):
        if (folder / "libintelocl.so").is_file():
            return folder / "libintelocl.so"
    return _recorded()


def _recorded() -> Path | None:
    """The same from the list of files that pip wrote: a --target or --user installation has it elsewhere."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        files = distribution(RUNTIME).files or []
    except PackageNotFoundError:
        return None
    for file in files:
        if file.name == "libintelocl.so":
            path = Path(os.fspath(file.locate())).resolve()
            return path if path.is_file() else None
    return None


@contextlib.contextmanager
def loader_environment() -> Iterator[None]:
    """The environment in which a loader finds all drivers; it reads it once, when it is first asked.

    Only where Intel's runtime comes from pip is there anything to set, and it is put back after the block.
    """
    library = None if _set_by_user(os.environ) or sys.platform in ("win32", "darwin") else pip_runtime()
    folder = None if library is None else _merged(library)
    if folder is None:
        yield
        return
    os.environ[VARIABLE] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)


def _merged(library: Path) -> Path | None:
    """A folder in the cache with the system's files and one for Intel's runtime; None where none can be written."""
    lines = {Path(one.file).name: one.library for one in map(_driver, _files(os.environ)) if not one.problem}
    if str(library) not in lines.values():
        lines["mlcore-intel.icd"] = str(library)
    folder = config.cache_dir() / "oneapi" / "vendors"
    with contextlib.suppress(OSError):
        config.remove_files(file for file in folder.glob("*.icd") if file.name not in lines)
    for name, line in lines.items():
        wanted = (line + "\n").encode()
        if config.read_cache(f"oneapi/vendors/{name}") != wanted and not config.write_cache(
            f"oneapi/vendors/{name}", wanted
        ):
            return _temporary(lines)
    return folder


def _temporary(lines: Mapping[str, str]) -> Path | None:
    """The same where the cache folder cannot be written."""
    import atexit
    import shutil
    import tempfile

    try:
        folder = Path(tempfile.mkdtemp(prefix="mlcore-oneapi-"))
        for name, line in lines.items():
            (folder / name).write_text(line + "\n")
    except OSError:
        return None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _set_by_user(env: Mapping[str, str]) -> bool:
    return any(env.get(name) for name in SET_BY_USERS)


def _files(env: Mapping[str, str]) -> list[Path]:
    """The .icd files of the folder that counts."""
    asked = env.get(VARIABLE) or env.get("OPENCL_VENDOR_PATH")
    names = env.get("OCL_ICD_FILENAMES")
    if asked and Path(asked).is_file():
        return [Path(asked)]
    found = [Path(name) for name in names.split(os.pathsep) if name] if names else []
    folders = [Path(asked)] if asked else [Path(SYSTEM), Path(sys.prefix, "etc", "OpenCL", "vendors")]
    for folder in folders:
        with contextlib.suppress(OSError):
            found += sorted(folder.glob("*.icd"))
    return found


def _driver(file: Path) -> Driver:
    """What an .icd file names, and whether it is there."""
    if file.suffix != ".icd":  # a library that a variable names outright
        return Driver(str(file), str(file), "" if file.exists() else f"{file} does not exist")
    try:
        library = file.read_text(errors="replace").strip()
    except OSError as error:
        return Driver(str(file), "", f"{file} cannot be read: {error.strerror}")
    if not library:
        return Driver(str(file), "", f"{file} is empty")
    if os.path.isabs(library) and not os.path.exists(library):
        return Driver(
            str(file),
            library,
            f"{file} names {library}, which does not exist",
            f"reinstall it, or remove {file}",
        )
    return Driver(str(file), library)


def _pip_driver(library: Path) -> Driver:
    if probes.installed_version(COMPANION) is None:
        problem = f"{RUNTIME} is installed without {COMPANION}, whose libraries it needs"
        return Driver("", str(library), problem, f"pip install {COMPANION}")
    return Driver("", str(library))
