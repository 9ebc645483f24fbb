"""mlcore_oneapi: any vendor's OpenCL device as a backend of mlcore. People use it through mlcore.

>>> import mlcore_oneapi
>>> mlcore_oneapi.__version__.count(".")
2
"""

from __future__ import annotations

from mlcore_oneapi._version import version as __version__

__all__ = ["__version__"]
