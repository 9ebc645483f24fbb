"""JAX as a backend of mlcore: a package that mlcore knows nothing of."""
