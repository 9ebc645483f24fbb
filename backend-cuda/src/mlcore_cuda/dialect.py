"""CUDA C++ as mlcore.codegen writes it: ``mlcore kernel OP --backend cuda`` prints it."""

from __future__ import annotations

from mlcore_cupy.dialect import dialect

DIALECT = dialect("cuda", ".cu")
