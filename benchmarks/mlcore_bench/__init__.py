"""Rows that mlcore and another library both run, how they are timed beside each other, and the table of ratios."""
