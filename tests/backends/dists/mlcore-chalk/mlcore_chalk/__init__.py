"""A made-up kernel language and its backend, in a package of its own: the core has never heard of either."""
