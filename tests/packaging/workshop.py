"""A bench for packages made by `mlcore new`: write them, install them by pip, run commands beside them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass, field
from pathlib import Path

import mlcore

# Run with this Python; ruff is a program of its own beside it. Where mlcore is no installed package, mypy takes its
# sources for a part of the project, and would tell what it says of them.
TOOLS = {"mlcore": "", "pytest": "", "mypy": "--follow-imports=silent"}
# What pip does without in a test: the index, other distributions, an environment to build in.
OFFLINE = "--no-deps --no-index --no-build-isolation --no-compile --quiet --disable-pip-version-check"


@dataclass
class Workshop:
    """A folder to work in, with an environment of its own that sees what this Python has installed, and a cache."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def site(self) -> Path:
        """Where packages are installed."""
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.home / "venv" / "lib" / name / "site-packages"

    def prepare(self) -> Workshop:
        """Make the environment, and commands that are of this Python whatever the machine has on its PATH."""
        venv.EnvBuilder(symlinks=True).create(self.home / "venv")
        seen = dict.fromkeys(
            [sysconfig.get_path("purelib"), *(p for p in sys.path if p.endswith("site-packages"))]
        )
        lines = [f"import site; site.addsitedir({folder!r})\n" for folder in seen]
        (self.site / "parent.pth").write_text("".join(lines))
        programs = self.home / "venv" / "bin"
        python = shlex.quote(str(programs / "python"))
        for tool, options in TOOLS.items():
            self._program(programs / tool, f'exec {python} -m {tool} {options} "$@"\n')
        self._program(programs / "pip", f'shift; exec {python} -m pip install {OFFLINE} "$@"\n')
        source = str(Path(mlcore.__file__).parents[1])
        # PIP_BUILD_CONSTRAINT is for builds in an environment of their own: without one, new versions of pip refuse it.
        foreign = ("MLCORE_", "PYTEST_", "PIP_BUILD_CONSTRAINT")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.environment = {
            **clean,
            "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])),
            "MYPYPATH": source if "site-packages" not in source else "",
            "MYPY_CACHE_DIR": str(self.home / "mypy"),
            "RUFF_NO_CACHE": "true",
            "MLCORE_CACHE_DIR": str(self.home / "cache"),
            "MLCORE_CONFIG": "off",
            "MLCORE_FALLBACK": "error",
            "MLCORE_PROBE_TIMEOUT": "60",
        }  # fmt: skip
        return self

    def _program(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)

    def run(self, command: str, folder: str = ".", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command line of a shell in one of the workshop's folders."""
        return subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.home / folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )

    def check(self, command: str, folder: str = ".", **environment: str) -> str:
        """What a command prints; it must succeed."""
        made = self.run(command, folder, **environment)
        assert made.returncode == 0, f"{command}\n{made.stdout}\n{made.stderr}"
        return made.stdout
