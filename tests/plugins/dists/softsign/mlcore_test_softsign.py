"""A module of the group mlcore.ops, which leaves a trace that it was imported."""

import os

os.environ["SOFTSIGN_WAS_IMPORTED"] = "1"
