"""Makes built wheels fit to be given away: ``repair_wheels.py FROM TO``.

On Linux, auditwheel copies the shared libraries that a compiled wheel needs into it and writes the oldest
manylinux tag that its symbols allow; a pure wheel, and every wheel elsewhere, is copied as it is.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def repair(wheel: Path, target: Path) -> None:
    """Copy a wheel to the target folder, self-contained where the platform has a tool for it."""
    if sys.platform != "linux" or wheel.name.endswith("-any.whl"):
        shutil.copy2(wheel, target)
        return
    subprocess.run(
        [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", str(target), str(wheel)], check=True
    )


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    for wheel in sorted(source.glob("*.whl")):
        repair(wheel, target)
    for wheel in sorted(target.glob("*.whl")):
        print(f"{wheel}  {wheel.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
