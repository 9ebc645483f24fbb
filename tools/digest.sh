#!/bin/sh
# Prints one number for the content of the given files and folders, so that a changed, added or removed source
# (and nothing else) makes the Makefile install again what was built from it. Files that builds leave do not count.
for path in "$@"; do
    if [ -e "$path" ]; then echo "$path"; fi
done | while read -r path; do
    find "$path" -type d \( -name __pycache__ -o -name '*.egg-info' -o -name build -o -name dist \) -prune -o \
        -type f ! -name '*.so' ! -name '*.py[co]' ! -name '_*.cpp' -print0
done | LC_ALL=C sort -z | xargs -0 cksum | cksum | cut -d' ' -f1
