"""Builds the hot path of the core: each ``mlcore/**/X.pxd`` with an ``X.py`` beside it becomes an extension.

The rest of the packaging is declared in pyproject.toml. The extensions are a speed-up, never a requirement:

    MLCORE_PURE unset    compile; where there is no compiler or no Cython, warn and install pure Python
    MLCORE_PURE=1        do not compile
    MLCORE_PURE=0        compile, and fail when that fails

An editable install never compiles: an extension in the source tree would hide every later edit of its .py.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PURE = os.environ.get("MLCORE_PURE", "")
REQUIRED = PURE == "0"
# Annotations are for the type checker: what Cython may rely on stands in the .pxd.
DIRECTIVES = {"language_level": "3", "binding": True, "annotation_typing": False}


def warn(reason: str) -> None:
    print(f"warning: mlcore-core is installed uncompiled, as pure Python: {reason}", file=sys.stderr)


def hot_path() -> list[Extension]:
    """One extension for each .pxd with a .py twin; none where they are not wanted or cannot be made."""
    if PURE not in ("", "0"):
        return []
    twins = [pxd.with_suffix(".py").relative_to(ROOT) for pxd in sorted((ROOT / "mlcore").rglob("*.pxd"))]
    try:
        import Cython  # noqa: F401
    except ImportError:
        if REQUIRED:
            raise
        warn("Cython is not installed")
        return []
    flags = [] if sys.platform == "win32" else ["-O2", "-g0"]
    return [
        Extension(".".join(path.with_suffix("").parts), [path.as_posix()], extra_compile_args=flags)
        for path in twins
        if (ROOT / path).is_file()
    ]


class BuildExtensions(build_ext):
    """`build_ext` that outlives a missing compiler, and leaves the tree of an editable install alone."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        if getattr(self, "editable_mode", False):
            self.extensions = []
            warn("an editable install always is")
        super().run()

    def build_extensions(self) -> None:
        """All or none: a compiled file that meets an uncompiled one it was built against would not import."""
        try:
            self.translate()
            super().build_extensions()
        except Exception as error:
            if REQUIRED:
                raise
            warn(str(error) or type(error).__name__)
            for extension in self.extensions:
                Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
            self.extensions = []

    def translate(self) -> None:
        """Python to C, here and not in the script's body: that runs for each question about metadata too."""
        from Cython.Build import cythonize

        made = cythonize(
            [Extension(one.name, one.sources) for one in self.extensions],
            build_dir="build/cython",  # the source tree stays clean
            compiler_directives=DIRECTIVES,
            quiet=True,
            force=True,  # time stamps do not tell that Cython itself changed
        )
        sources = {one.name: one.sources for one in made}
        for extension in self.extensions:
            extension.sources = sources[extension.name]


class BuildPython(build_py):
    """`build_py` that first removes what an earlier build left: it would be packed, and a stale .so win."""

    def run(self) -> None:
        if not getattr(self, "editable_mode", False):
            shutil.rmtree(Path(self.build_lib, "mlcore"), ignore_errors=True)
        super().run()


setup(ext_modules=hot_path(), cmdclass={"build_ext": BuildExtensions, "build_py": BuildPython})
