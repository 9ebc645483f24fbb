"""What the package's light parts cost."""

import subprocess
import sys


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, mlcore_onnx, mlcore_onnx.plugin;"
        "print(sorted(one for one in sys.modules if one.split('.')[0] in ('onnx', 'google', 'onnxruntime')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
