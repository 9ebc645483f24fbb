"""A backend whose module imports a library that is not installed."""

import no_such_chip_library

plugin = no_such_chip_library.plugin
