"""Plugins for plugin API 1.0, kept as they were."""
