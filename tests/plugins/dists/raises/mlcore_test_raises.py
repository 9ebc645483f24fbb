"""A backend whose module raises while it is imported."""

raise OSError("libmychip.so.3: cannot open shared object file: No such file or directory")
