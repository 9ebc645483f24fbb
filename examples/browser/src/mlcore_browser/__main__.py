"""``python -m mlcore_browser RUN [--out FOLDER] [--serve] [--port N]``"""

from __future__ import annotations

import argparse
import functools
import http.server
import sys
from pathlib import Path

from mlcore.errors import MlcoreError
from mlcore_browser.site import build


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m mlcore_browser", description="Make the page, and serve it."
    )
    parser.add_argument("run", help="folder of a run of `mlcore train mnist`")
    parser.add_argument("--out", default="site", help="folder of the page (default site)")
    parser.add_argument("--serve", action="store_true", help="serve it on this machine until Ctrl-C")
    parser.add_argument("--port", type=int, default=8000, help="of the server (8000; 0 takes a free one)")
    arguments = parser.parse_args()
    try:
        folder = build(arguments.run, arguments.out)
    except MlcoreError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB; any web server can serve it")
    if arguments.serve:
        serve(folder, arguments.port)
    return 0


def serve(folder: Path, port: int) -> None:
    """Python's own server, for this machine only."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    sys.exit(main())
