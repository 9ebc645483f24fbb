"""The rows of the bench, one file a group."""
