"""A backend whose module ends the program while it is imported."""

import sys

print("this chip needs a licence")
sys.exit("no licence")
