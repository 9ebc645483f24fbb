"""Capture: what a piece of code does to tensors, found out without computing, for backends that can run it whole.

`chain` records elementwise code as a short list of steps; an optimizer's rule is the first of its users. `capture`
records a whole model as a graph, for export and for `mlcore view`; `shape_only` only works out shapes and FLOPs.
"""
