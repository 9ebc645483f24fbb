"""`mlcore bench` by the way of its old name: python benchmarks/side_by_side.py [--quick] [--rows REGEX] ..."""

from __future__ import annotations

import sys

from mlcore.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
