"""The `mlcore` command on a machine that seems to have CuPy and NVIDIA GPUs, two or STANDIN_DEVICES: the stand-in.

python backend-cupy/tests/standin_run.py conformance cuda --level 1
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "standin"), str(HERE)]

import cupy  # noqa: E402
from mlcore_cuda.facts import Facts, Gpu  # noqa: E402
from mlcore_cuda.plugin import plugin  # noqa: E402
from mlcore_cupy.installed import Distribution  # noqa: E402

from mlcore.plugin import discovery  # noqa: E402

assert Path(cupy.__file__).is_relative_to(HERE), "this needs the stand-in, not CuPy"


COUNT = cupy.cuda.runtime.getDeviceCount()


class Gpus(Facts):
    """What a machine with GPUs and a driver says."""

    def nodes(self) -> list[str]:
        return [f"/dev/nvidia{i}" for i in range(COUNT)]

    def driver(self) -> str | None:
        return "580.82"

    def gpus(self) -> list[Gpu]:
        return [Gpu(i, "stand-in for a GPU", f"GPU-{i}", f"0000:0{i}:00.0") for i in range(1, COUNT + 1)]

    def distributions(self) -> list[Distribution]:
        return [Distribution("cupy-cuda13x", cupy.__version__)]

    def library(self) -> str:
        return ""


# A child process, in which new plugins are probed first, would not have these facts.
discovery._needs_child = lambda record: False
plugin.facts = Gpus()  # at import: the processes that the command starts import this file too

if __name__ == "__main__":
    from mlcore.cli import main

    sys.exit(main(sys.argv[1:]))
