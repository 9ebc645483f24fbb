"""Adapters for libraries that have to be told about mlcore's tensors; `mlcore.after_import` says when each loads."""
