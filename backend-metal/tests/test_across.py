"""The same draws, the main job, and checkpoints that move between this device and the others that are installed."""

from mlcore.testing.across import *  # noqa: F403

mlcore_backend = "metal"
