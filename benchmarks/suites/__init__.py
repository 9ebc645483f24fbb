"""Suites for asv. Their rows are those of the side-by-side run, without the rivals; mlcore must be installed."""

import sys
from pathlib import Path

# asv imports this folder alone; the rows lie beside it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
