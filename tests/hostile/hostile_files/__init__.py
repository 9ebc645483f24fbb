"""Files that want to do harm, made by code, and a guard that sees what a reader does with them."""
