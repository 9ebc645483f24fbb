"""mlcore beside other libraries: rows that both run, compared first, then timed in alternation; see README.md."""
