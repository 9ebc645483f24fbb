"""Build of the extension: one glue module, the kernels compiled once per instruction set, oneDNN if present.

Variables: MLCORE_CPU_ONEDNN=0 builds without oneDNN; MLCORE_CPU_BUILD_ISA="v3" builds fewer instruction sets;
MLCORE_CPU_DEBUG=1 adds assertions and debug information; MLCORE_CPU_JOBS sets the number of compilers;
oneDNN's one shared library is copied beside the extension, stripped: its distribution, which installs three copies, is
needed for building only.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
CSRC = "src/mlcore_cpu/csrc"
X86 = platform.machine().lower() in ("x86_64", "amd64")
DEBUG = os.environ.get("MLCORE_CPU_DEBUG") == "1"

# Plain IEEE arithmetic: no -ffast-math, no contraction; errno and trap state are not kept, overflow wraps.
FLAGS = [
    "-std=c++17", "-O3", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off",
    "-fwrapv", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-psabi",
    *(["-g", "-UNDEBUG", "-D_GLIBCXX_ASSERTIONS"] if DEBUG else ["-g0", "-DNDEBUG"]),
]  # fmt: skip
ISA_FLAGS = {
    "v2": ["-march=x86-64-v2"],
    "v3": ["-march=x86-64-v3"],
    "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
ISAS = os.environ.get("MLCORE_CPU_BUILD_ISA", "v2,v3,v4").split(",") if X86 else ["generic"]


def locate(dist: str, tail: str) -> str | None:
    """The folder part of the installed file of `dist` whose path ends with `tail`."""
    try:
        files = distribution(dist).files or []
    except PackageNotFoundError:
        return None
    for file in files:
        if str(file).endswith(tail):
            return str(Path(str(file.locate())).resolve())[: -len(tail)]
    return None


def find_onednn() -> tuple[str, str] | None:
    """(include folder, library folder) of oneDNN, or None to build without it."""
    if os.environ.get("MLCORE_CPU_ONEDNN") == "0" or not X86:
        return None
    include = locate("onednn-devel-cpu-gomp", "/oneapi/dnnl/dnnl.hpp")
    library = locate("onednn-cpu-gomp", "/libdnnl.so")
    if include is None or library is None:
        print(
            "mlcore-cpu: oneDNN not found, building with an im2col convolution",
            file=sys.stderr,
        )
        return None
    return include, library


def is_fresh(made: str) -> bool:
    """Whether an object is newer than everything that it was made from, which the compiler has listed beside it."""
    listed = Path(made).with_suffix(".d")
    if not os.path.exists(made) or not listed.exists():
        return False
    files = listed.read_text().replace("\\\n", " ").partition(": ")[2].split()
    built = os.path.getmtime(made)
    return all(os.path.exists(file) and os.path.getmtime(file) < built for file in files)


def refuse_constructors(made: str) -> None:
    """Code that runs when the library is loaded may not be in an object that not every processor can run."""
    content = Path(made).read_bytes()
    if b".init_array" in content or b"__mod_init_func" in content:
        raise SystemExit(f"mlcore-cpu: {made} initialises something at load: make it a static of a function")


onednn = find_onednn()


class BuildKernels(build_ext):
    """Compiles csrc/isa/*.cpp once per instruction set and links the objects into the extension."""

    def run(self) -> None:
        super().run()
        if onednn:
            folder = HERE / "src" if self.inplace else Path(self.build_lib)
            bring(Path(onednn[1]) / "libdnnl.so.3", folder / "mlcore_cpu")

    def build_extension(self, ext: Extension) -> None:
        common = FLAGS + (["-march=x86-64-v2"] if X86 else [])
        # What one instruction set's kernels are made of is the same with oneDNN and without: builds share them.
        of_common = [("MLCORE_ISAS_" + isa, "1") for isa in ISAS] + (
            [("MLCORE_ONEDNN", "1")] if onednn else []
        )
        jobs = [
            (src, isa, ISA_FLAGS.get(isa, []))
            for isa in ISAS
            for src in sorted(map(str, Path(CSRC).glob("isa/*.cpp")))
        ]
        jobs += [(src, "", common) for src in sorted(map(str, Path(CSRC).glob("*.cpp")))]

        def build(job: tuple[str, str, list[str]]) -> str:
            source, isa, flags = job
            macros = [("MLCORE_ISA", isa)] if isa else of_common
            made_with = (flags, macros, FLAGS) if isa else (flags, macros, FLAGS, onednn)
            how = hashlib.sha256(repr(made_with).encode()).hexdigest()[:8]  # other flags, other objects
            folder = os.path.join("build", "objects", f"{isa or 'common'}-{how}")
            target = os.path.join(folder, CSRC, os.path.relpath(source, CSRC)[:-4] + ".o")
            if not self.force and is_fresh(target):
                return target
            includes = [str(HERE / CSRC), *([onednn[0]] if onednn else [])]
            extra = (FLAGS + flags) if isa else flags
            if isa and os.path.basename(source).startswith(("gemm", "winograd", "depthwise")):
                extra = [*extra, "-ffp-contract=fast"]  # products and sums as one fused instruction
            made: str = self.compiler.compile(
                [source],
                output_dir=folder,
                macros=macros,
                include_dirs=includes,
                extra_postargs=[*extra, "-MMD"],
            )[0]
            if isa:
                refuse_constructors(made)
            return made

        with ThreadPoolExecutor(int(os.environ.get("MLCORE_CPU_JOBS", os.cpu_count() or 1))) as pool:
            objects = list(pool.map(build, jobs))
        # The lowest instruction set comes first: the linker keeps the first copy of a shared inline function.
        ext.extra_objects = sorted(objects, key=lambda path: "common-" not in path)
        ext.extra_compile_args = [f for f in common if f not in ("-Wall", "-Wextra")]
        super().build_extension(ext)


def bring(library: Path, folder: Path) -> None:
    """Copy a shared library, without what only linkers and debuggers read, unless a newer copy is there."""
    made = folder / library.name
    if made.exists() and made.stat().st_mtime > library.stat().st_mtime:
        return
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        copy = Path(temporary) / library.name
        shutil.copyfile(library.resolve(), copy)
        if tool := shutil.which("strip"):
            subprocess.run([tool, "--strip-unneeded", str(copy)], check=False)
        os.replace(copy, made)  # at once: a process may have the old one loaded


extension = Extension(
    "mlcore_cpu._kernels",
    ["src/mlcore_cpu/_kernels.pyx"],
    language="c++",
    include_dirs=[numpy.get_include(), CSRC],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("CYTHON_CLINE_IN_TRACEBACK", "0")],
    depends=[str(p.relative_to(HERE)) for p in (HERE / CSRC).rglob("*") if p.is_file()],
)
if onednn:
    extension.library_dirs = [onednn[1]]
    extension.libraries = ["dnnl", "gomp"]
    extension.extra_link_args = ["-Wl,-rpath,$ORIGIN", "-Wl,--disable-new-dtags"]
if sys.platform == "linux":
    extension.extra_link_args = [*(extension.extra_link_args or []), "-Wl,-z,relro,-z,now", "-pthread"]

os.chdir(HERE)
setup(
    ext_modules=cythonize([extension], language_level=3, annotate=False, include_path=["src/mlcore_cpu"]),
    cmdclass={"build_ext": BuildKernels},
    options={}
    if onednn
    else {"build": {"build_base": "build/without-onednn"}},  # never mistaken for the other
)
