"""The real CuPy where there is no driver: it imports, the plugin says why it cannot be used, and the stand-in of the
other tests has no name and no parameter that CuPy lacks."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlcore_cupy.installed import distributions

STANDIN = Path(__file__).resolve().parents[2] / "backend-cupy/tests/standin/cupy"
installed = [one for one in distributions() if one.kind == "cuda"]
pytestmark = pytest.mark.skipif(
    not installed and os.environ.get("MLCORE_LEG") != "nvrtc", reason="CuPy for CUDA is not installed"
)


def run(code: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_it_is_the_only_one_and_imports_without_a_driver() -> None:
    assert len(installed) == 1
    assert run("import cupy; print(cupy.__version__)").strip() == installed[0].version


@pytest.mark.skipif(bool(list(Path("/dev").glob("nvidia[0-9]*"))), reason="this machine has an NVIDIA GPU")
def test_the_plugin_reports_no_hardware_and_never_imports_it() -> None:
    told = run(
        "import sys, mlcore as ml\n"
        "from mlcore.plugin import discovery\n"
        "record = discovery.find_backend('cuda')\n"
        "print(record.state, '|', record.reason, '|', record.fix, '|', 'cupy' in sys.modules)\n"
        "try: ml.ones((1,), device='cuda')\n"
        "except ml.errors.DeviceError as error: print(error)\n"
    )
    first, rest = told.split("\n", 1)
    assert first.startswith("no_hardware | no /dev/nvidia* device | ")
    assert first.endswith("| False")
    assert "device 'cuda' was requested" in rest
    assert "state no_hardware" in rest
    assert "MLCORE_DEVICE=cpu" in rest


def defined() -> dict[str, set[str]]:
    """Functions of the stand-in's namespace, and their parameters."""
    tree = ast.parse((STANDIN / "__init__.py").read_text())
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            a = node.args
            found[node.name] = {one.arg for one in (*a.posonlyargs, *a.args, *a.kwonlyargs)}
    return found


def test_the_stand_in_has_nothing_that_cupy_has_not() -> None:
    names = run(
        "import sys; sys.path.insert(0, sys.argv[1]) if len(sys.argv) > 1 else None\nimport json, inspect, cupy\n"
        "found = {}\n"
        "for name in dir(cupy):\n"
        "    try: found[name] = sorted(inspect.signature(getattr(cupy, name)).parameters)\n"
        "    except (TypeError, ValueError): found[name] = None\n"
        "kinds = {'cuda.' + k: dir(getattr(cupy.cuda, k)) \n"
        "         for k in ('Device', 'Stream', 'Event', 'MemoryPool', 'Graph')}\n"
        "kinds |= {'ndarray': dir(cupy.ndarray), 'RawModule': dir(cupy.RawModule), 'cuda': dir(cupy.cuda),\n"
        "          'cuda.runtime': dir(cupy.cuda.runtime), 'cuda.compiler': dir(cupy.cuda.compiler)}\n"
        "from cupy._core import _routines_linalg as linalg\n"
        "print(json.dumps([found, kinds, dir(linalg)]))"
    )
    import json

    theirs, kinds, linalg = json.loads(names)
    own = json.loads(
        run(
            "import json, cupy\nprint(json.dumps([[n for n in dir(cupy) if not n.startswith('_')],"
            " {'cuda.' + k: [n for n in dir(getattr(cupy.cuda, k)) if not n.startswith('_')]"
            "  for k in ('Device', 'Stream', 'Event', 'MemoryPool', 'Graph')}"
            " | {'ndarray': [n for n in dir(cupy.ndarray) if not n.startswith('_')]}]))",
            PYTHONPATH=os.pathsep.join([str(STANDIN.parent), os.environ.get("PYTHONPATH", "")]),
        )
    )
    helpers = {"Any", "annotations", "np", "call", "viewed", "wrapped"}
    assert not set(own[0]) - set(theirs) - helpers
    for kind, members in own[1].items():
        extra = set(members) - set(kinds[kind]) - {"captured", "device_id", "steps"}
        assert not extra, f"{kind}: CuPy has no {sorted(extra)}"
    for name, parameters in defined().items():
        if theirs[name] is not None and "args" not in theirs[name]:
            assert parameters <= set(theirs[name]), f"cupy.{name} takes {theirs[name]}"
    assert {"set_compute_type", "COMPUTE_TYPE_TF32"} <= set(linalg)
    assert {"CompileException"} <= set(kinds["cuda.compiler"])
    assert {"getDevice", "memGetInfo", "CUDARuntimeError", "is_hip"} <= set(kinds["cuda.runtime"])
    assert {"alloc", "alloc_pinned_memory", "using_allocator", "get_current_stream"} <= set(kinds["cuda"])


def test_every_name_that_the_backend_uses_is_there() -> None:
    """Attributes of `cupy` in the sources of the backend, looked up in the real one."""
    import re

    spec = importlib.util.find_spec("mlcore_cupy")
    assert spec is not None
    assert spec.submodule_search_locations
    used: set[str] = set()
    for path in Path(spec.submodule_search_locations[0]).glob("*.py"):
        used |= set(
            re.findall(r"\b(?:rt\.cupy|self\.xp|xp|cupy)\.((?:cuda\.)?[a-z_]\w*(?:\.\w+)?)", path.read_text())
        )
    used = {
        one
        for one in used
        if not one.startswith(("installed", "backend", "runtime", "dialect", "source", "catalog"))
    }
    missing = run(
        f"import cupy\nfor path in {sorted(used)!r}:\n"
        "    at = cupy\n"
        "    for part in path.split('.'):\n"
        "        at = getattr(at, part, None)\n"
        "    if at is None: print(path)\n"
    ).split()
    assert len(used) > 15
    assert not missing


def test_the_stand_ins_nccl_is_cupys() -> None:
    """Names, values of constants, the form of an id; and the library, as CuPy finds it, without a card."""
    found = run(
        "import cupy\nfrom cupy.cuda import nccl\n"
        "source = open(PATH).read().replace('from cupy._place import stream_at', 'stream_at = None')\n"
        "own = {}\nexec(compile(source, PATH, 'exec'), own)\n"
        "assert nccl.available, 'NCCL is not installed'\n"
        "for name, value in own.items():\n"
        "    if name.startswith('NCCL_'): assert getattr(nccl, name) == value, name\n"
        "members = {n for n in vars(own['NcclCommunicator']) if not n.startswith('_')}\n"
        "assert members and members <= set(dir(nccl.NcclCommunicator)), members\n"
        "for name in own['__all__']: assert hasattr(nccl, name), name\n"
        "one = nccl.get_unique_id()\nassert isinstance(one, bytes) and len(one) == 128\n"
        "try: nccl.NcclCommunicator(1, one, 0)\n"
        "except nccl.NcclError as error: print('refused', error)\n"
        "else: print('joined')\n"
        "print(nccl.get_version())".replace("PATH", repr(str(STANDIN / "cuda/nccl.py")))
    )
    assert int(found.split()[-1]) > 22_700


def test_compiled_kernels_are_kept_under_our_cache_folder(tmp_path: Path) -> None:
    """CuPy reads the variable once, when it is imported."""
    code = (
        "from mlcore_cupy.loading import load\ncupy = load()\n"
        "from cupy.cuda import compiler\nprint(compiler._kernel_cache_backend._cache_dir)"
    )
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert run(code, MLCORE_CACHE_DIR=str(ours)).strip() == str(ours / "cupy")
    assert run(code, MLCORE_CACHE_DIR=str(ours), CUPY_CACHE_DIR=str(theirs)).strip() == str(theirs)
    assert run(f"import cupy\n{code}", MLCORE_CACHE_DIR=str(ours), CUPY_CACHE_DIR=str(theirs)).strip() == str(
        theirs
    )
