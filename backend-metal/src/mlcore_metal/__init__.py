"""mlcore_metal: the Metal backend of mlcore, on MLX. People use it through mlcore; importing this alone is light.

>>> import sys, mlcore_metal
>>> mlcore_metal.__version__
'0.1.0'
"""

from mlcore_metal._version import version as __version__

__all__ = ["__version__"]
