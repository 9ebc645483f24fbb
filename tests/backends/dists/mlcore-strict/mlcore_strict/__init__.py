"""array-api-strict as a backend of mlcore: for tests only."""
