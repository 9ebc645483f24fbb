"""The same draws, the main job through MLCORE_DEVICE alone, and checkpoints that move between devices."""

from mlcore.testing.across import *  # noqa: F403

mlcore_backend = "jax"
