"""Backends: the protocol, the adapter for array libraries, the NumPy reference, and the detector."""
