"""Writes, or with ``--check`` compares, every committed file that is made from the registry of operations.

Runs on the source tree (the Makefile puts it on PYTHONPATH), so that a new declaration counts before it is installed.
"""

from __future__ import annotations

import subprocess
import sys

# Each is a program that takes --check and exits with 1 where its file is not fresh.
GENERATORS = ["mlcore.ops.stubgen", "mlcore_cpu.generate"]


def main() -> int:
    arguments = sys.argv[1:]
    results = [subprocess.run([sys.executable, "-m", name, *arguments], check=False) for name in GENERATORS]
    return max(abs(result.returncode) for result in results)


if __name__ == "__main__":
    sys.exit(main())
