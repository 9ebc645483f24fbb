"""``mlcore assets``: files that are fetched once by name and hash: what there is, get it, where it is."""

from __future__ import annotations

import argparse
import sys

from mlcore.cli.output import aligned, print_json


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "assets", help="weights, data and other files fetched by name and hash", description=__doc__
    )
    words = parser.add_subparsers(title="what to do", metavar="list|get|where", required=True)
    listing = words.add_parser("list", help="all assets, and whether they are here")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=run_list)
    get = words.add_parser("get", help="fetch what is not here; prints where each one is")
    get.add_argument("names", metavar="NAME", nargs="*")
    get.add_argument("--all", action="store_true", help="all that `mlcore assets list` shows")
    get.add_argument("--verify", action="store_true", help="check the hashes of what is here already, too")
    get.set_defaults(run=run_get)
    where = words.add_parser("where", help="where an asset is; status 1 where it has not been fetched")
    where.add_argument("name", metavar="NAME")
    where.set_defaults(run=run_where)


def run_list(arguments: argparse.Namespace) -> int:
    from mlcore import assets

    known = assets.everything()
    if arguments.json:
        print_json(
            [
                {
                    "name": asset.name,
                    "here": assets.is_here(asset.name),
                    "where": str(assets.where(asset.name)),
                    "bytes": asset.size,
                    "about": asset.about,
                    "package": asset.package,
                    "sha256": asset.sha256,
                    "licence": asset.licence,
                    "attribution": asset.attribution,
                    "owner": asset.owner,
                }
                for asset in known.values()
            ]
        )
        return 0
    rows = [
        (
            asset.name,
            "here" if assets.is_here(asset.name) else "-",
            f"{asset.size / 1e6:.1f}",
            asset.licence,
            asset.about,
        )
        for asset in known.values()
    ]
    print(aligned([("asset", "", "MB", "licence", "what it is"), *rows]))
    print(f"\nassets folder: {assets.folder()}")
    return 0


def run_get(arguments: argparse.Namespace) -> int:
    from mlcore import assets
    from mlcore.errors import ArgumentError

    if bool(arguments.names) == arguments.all:
        raise ArgumentError(
            "assets get: name what to fetch, or say --all", known=", ".join(assets.everything())
        )
    names = assets.everything() if arguments.all else arguments.names
    for asset in [assets.find(name) for name in names]:  # a wrong name fetches nothing
        if not assets.is_here(asset.name):
            print(
                f"fetching {asset.name} ({asset.source} {asset.requirement}) ...", file=sys.stderr, flush=True
            )
        print(assets.get(asset.name, verify=arguments.verify))
    return 0


def run_where(arguments: argparse.Namespace) -> int:
    from mlcore import assets

    print(assets.where(arguments.name))
    if assets.is_here(arguments.name):
        return 0
    print(f"it is not there yet: mlcore assets get {arguments.name}", file=sys.stderr)
    return 1
