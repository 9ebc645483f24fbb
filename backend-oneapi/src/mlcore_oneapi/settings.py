"""The variables of this backend, apart from MLCORE_ONEAPI_PLATFORM (see vendors.py)."""

from __future__ import annotations

from typing import Final

from mlcore import config

OWNER: Final = "mlcore-oneapi"

MEMORY_LIMIT: Final = config.declare(
    config.Variable[int | None](
        "MLCORE_ONEAPI_MEMORY_LIMIT", None, config.as_positive_int, "bytes that tensors on an OpenCL device may occupy",
        owner=OWNER,
    )
)  # fmt: skip
BINARIES: Final = config.declare(
    config.Variable(
        "MLCORE_ONEAPI_BINARIES", True, config.as_bool, "off: do not keep compiled kernels in the cache folder",
        owner=OWNER,
    )
)  # fmt: skip
