"""Suites for asv. Their rows are those of `mlcore bench`, without the rivals; mlcore must be installed."""
