"""The corpus is a package beside the tests: fuzzing begins with it too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
