"""A backend whose entry point names nothing."""

"""nothing here"""
