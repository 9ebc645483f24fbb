#!/bin/sh
# Prints the first Python 3.11 or newer on this machine that can make a virtual environment.
for name in python3 python3.11 python3.12 python3.13 python3.14 python; do
    if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        command -v "$name"
        exit 0
    fi
done
echo "mlcore needs Python 3.11 or newer with venv (Debian: python3-venv); name one with: make PYTHON=/path/to/python" >&2
exit 1
