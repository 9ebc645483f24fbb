"""HIP as mlcore.codegen writes it: ``mlcore kernel OP --backend rocm`` prints it."""

from __future__ import annotations

from mlcore_cupy.dialect import dialect

DIALECT = dialect("hip", ".hip")
