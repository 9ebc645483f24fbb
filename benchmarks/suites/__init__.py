"""Suites for asv. Their rows are those of the side-by-side run, without the rivals; mlcore must be installed."""
