"""The commands `mlcore train`, `mlcore predict` and `mlcore classify`."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

INTERRUPTED: Final = 130
BAR: Final = " ▏▎▍▌▋▊▉█"


def add_commands(subparsers: Any) -> None:
    """Add the commands to mlcore's parser."""
    train = subparsers.add_parser(
        "train",
        help="train a small network on images of digits",
        description="Train a small convolutional network: `digits` (1,797 images of 8x8, shipped) or `mnist` (70,000 "
        "images of 28x28, fetched once). Writes checkpoints, the weights, a picture and a summary of the run.",
    )
    train.add_argument("recipe", metavar="digits|mnist", help="what to train on")
    train.add_argument("--epochs", type=int, help="how often to go through the data")
    train.add_argument("--batch-size", type=int, help="images in a step")
    train.add_argument("--lr", type=float, help="learning rate at the start (it falls along a cosine)")
    train.add_argument("--seed", type=int, help="of everything that is random (default 0)")
    train.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the run (default runs/digits, runs/mnist)"
    )
    train.add_argument("--device", help="such as cpu or reference (default: MLCORE_DEVICE, else the fastest)")
    train.add_argument("--data", type=Path, metavar="DIR", help="folder that has, or will get, MNIST's files")
    train.add_argument(
        "--resume", action="store_true", help="continue the run in DIR from its newest checkpoint"
    )
    train.add_argument("--quick", action="store_true", help="a short run, to see that everything works")
    train.add_argument("--quiet", action="store_true", help="no progress, only the result")
    train.set_defaults(run=run_train)
    predict = subparsers.add_parser(
        "predict",
        help="read the digit in an image file",
        description="Read the digit in image files of any size and colour, with a network that `mlcore train` made.",
    )
    predict.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="image files (PNG, JPEG, ...)")
    predict.add_argument(
        "--checkpoint",
        type=Path,
        default=Path("runs/digits"),
        metavar="PATH",
        help="folder of a run, or one of its checkpoints (default runs/digits)",
    )
    predict.add_argument(
        "--device", help="such as cpu or reference (default: MLCORE_DEVICE, else the fastest)"
    )
    predict.add_argument("--json", action="store_true", help="print JSON")
    predict.add_argument("--show", action="store_true", help="print what the network was shown")
    predict.set_defaults(run=run_predict)
    add_classify(subparsers)


def run_train(arguments: argparse.Namespace) -> int:
    """`mlcore train`; returns the exit status."""
    import mlcore as ml
    from mlcore.train import Interrupted
    from mlcore_vision import recipes

    recipe = recipes.find(arguments.recipe)
    folder = arguments.out or Path("runs") / recipe.name
    try:
        with _warnings_as_lines(), ml.device(arguments.device) if arguments.device else nullcontext():
            _train(arguments, recipe, folder)
    except Interrupted as stop:
        print(f"\n{stop}", file=sys.stderr)
        if stop.checkpoint is not None:
            again = f"mlcore train {recipe.name} --resume" + (f" --out {folder}" if arguments.out else "")
            print(f"to continue: {again}", file=sys.stderr)
        return INTERRUPTED
    return 0


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Warnings as one plain line each; that a damaged checkpoint was passed over is always said."""
    from mlcore.io import CheckpointWarning

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", CheckpointWarning)
        warnings.showwarning = show
        yield


def _chosen(arguments: argparse.Namespace, recipe: Any, folder: Path) -> Any:
    """The recipe with the options that were given; a resumed one must not be given others."""
    from mlcore.errors import ArgumentError
    from mlcore_vision import recipes

    given = {name: getattr(arguments, name) for name in ("epochs", "batch_size", "lr", "seed")}
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.resume:
        recipe = recipes.resumed(recipe, folder)
        for name, value in given.items():
            if value != getattr(recipe, name):
                raise ArgumentError(
                    f"--{name.replace('_', '-')} {value}: the run in {folder} has {getattr(recipe, name)}",
                    cause="--resume continues a run as it was begun, to the same end",
                    fix="leave the option out, or start a new run with another --out",
                )
        return recipe
    if arguments.quick:
        recipe = recipe.quick()
    return replace(recipe, **given)


def _train(arguments: argparse.Namespace, recipe: Any, folder: Path) -> None:
    import mlcore as ml
    from mlcore_vision import recipes
    from mlcore_vision.datasets import mnist

    recipe = _chosen(arguments, recipe, folder)
    say = (lambda *_: None) if arguments.quiet else print
    say(ml.explain_device())
    root = arguments.data or mnist.default_root()
    if recipe.name == "mnist" and not mnist.is_here(root):
        say(f"\nMNIST is not in {root} yet; it is fetched once (19 MB) ...")
        sys.stdout.flush()
    data = recipes.load_data(recipe.name, arguments.data)

    def started(model: Any, training: int, held_out: int) -> None:
        parameters = sum(parameter.size for parameter in model.parameters())
        say(f"\ndata:  {training} images of {recipe.name} to train on, {held_out} held out")
        say(f"model: {recipe.model}, {parameters} parameters; {recipe.epochs} epochs, seed {recipe.seed}")
        say(f"run:   {folder}\n")
        sys.stdout.flush()

    outcome = recipes.run(
        recipe, folder, data, resume=arguments.resume, quiet=arguments.quiet, started=started
    )
    files = write_run(outcome, folder)
    result = outcome.result
    print(
        f"\nheld out: {100 * result.accuracy:.2f} % right ({result.errors} wrong of {result.count}), "
        f"loss {result.loss:.4f}; {sum(outcome.history.seconds):.1f} s"
    )
    say("written:  " + "\n          ".join(str(file) for file in files))
    say(f"try it:   mlcore predict IMAGE --checkpoint {folder}")


def write_run(outcome: Any, folder: Path) -> list[Path]:
    """The picture, the summary, the figures and the weights of a run; returns their paths."""
    import mlcore as ml
    from mlcore.io import atomic_write
    from mlcore.train import summary
    from mlcore.train.progress import clock
    from mlcore_vision import plots

    recipe, result, history = outcome.recipe, outcome.result, outcome.history
    device = ml.default_device()
    where = f"{device}" + (f" ({device.info.name})" if device.info and device.info.name else "")
    total = sum(history.seconds)
    title = f"{recipe.name}: {100 * result.accuracy:.2f} % of {result.count} held-out images right"
    note = f"{recipe.model}, {len(history)} epochs in {clock(total)} on {where}, seed {recipe.seed}"
    parameters = sum(parameter.size for parameter in outcome.model.parameters())
    facts = {
        "model": f"{recipe.model}, {parameters} parameters",
        "device": where,
        "mlcore": ml.__version__,
        "seed": recipe.seed,
        "batch size": recipe.batch_size,
        "training time": f"{total:.1f} s",
    }
    figures = {
        "recipe": recipe.name,
        "model": recipe.model,
        "device": str(device),
        "seed": recipe.seed,
        "seconds": total,
        "accuracy": result.accuracy,
        "loss": result.loss,
        "confusion": result.confusion.tolist(),
        "history": history.to_dict(),
    }
    files = [folder / name for name in ("run.png", "summary.txt", "figures.json", "weights.safetensors")]
    plots.save_run(files[0], title, note, history, result, outcome.classes)
    with atomic_write(files[1]) as file:
        file.write(summary(title, facts, history, result, outcome.classes).encode())
    with atomic_write(files[2]) as file:
        file.write((json.dumps(figures, indent=1) + "\n").encode())
    ml.save(outcome.model.state_dict(), files[3], {"model": recipe.model})
    return files


def run_predict(arguments: argparse.Namespace) -> int:
    """`mlcore predict`; returns the exit status."""
    import mlcore as ml

    with _warnings_as_lines(), ml.device(arguments.device) if arguments.device else nullcontext():
        return _predict(arguments)


def _predict(arguments: argparse.Namespace) -> int:
    from mlcore_vision.predict import Reader, as_text

    reader = Reader.from_checkpoint(arguments.checkpoint)
    found = [(path, *reader.read(path)) for path in arguments.images]
    if arguments.json:
        documents = [
            {
                "image": str(path),
                "label": likeliest(chances),
                "probabilities": chances,
                "model": reader.model_name,
                "checkpoint": str(reader.path),
            }
            for path, chances, _ in found
        ]
        print(json.dumps(documents[0] if len(documents) == 1 else documents, indent=2))
        return 0
    for path, chances, shown in found:
        best = likeliest(chances)
        print(f"{path}: {best}  ({100 * chances[best]:.1f} %)")
        if arguments.show:
            print(as_text(shown))
        print(bars(chances))
    return 0


def add_classify(subparsers: Any) -> None:
    """Add `mlcore classify`."""
    parser = subparsers.add_parser(
        "classify",
        help="say what is in a photograph",
        description="Say which of ImageNet's 1,000 classes is in photographs, by a network whose weights are fetched "
        "once (mobilenet_v2, 13 MB), or lie in a file of yours (--weights).",
    )
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="image files (PNG, JPEG, ...)")
    parser.add_argument(
        "--model", default="vision/mobilenet_v2", metavar="NAME", help="such as vision/resnet50 (%(default)s)"
    )
    parser.add_argument(
        "--weights",
        default="DEFAULT",
        metavar="NAME|FILE",
        help="a name, or a file such as resnet50.pth (DEFAULT)",
    )
    parser.add_argument("--top", type=int, default=5, metavar="N", help="how many classes to name (5)")
    parser.add_argument(
        "--device", help="such as cpu or reference (default: MLCORE_DEVICE, else the fastest)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_classify)


def run_classify(arguments: argparse.Namespace) -> int:
    """`mlcore classify`; returns the exit status."""
    import mlcore as ml
    from mlcore.errors import ArgumentError
    from mlcore_vision.classify import Classifier
    from mlcore_vision.images import open_image

    if arguments.top < 1:
        raise ArgumentError(f"--top {arguments.top}", expected="at least 1")
    pictures = [open_image(path) for path in arguments.images]  # before anything is fetched
    with ml.device(arguments.device) if arguments.device else nullcontext():
        found = Classifier.pretrained(arguments.model, arguments.weights)(pictures, arguments.top)
    if arguments.json:
        documents = [
            {
                "image": str(path),
                "model": arguments.model,
                "classes": [
                    {"name": g.name, "index": g.index, "probability": g.probability} for g in guesses
                ],
            }
            for path, guesses in zip(arguments.images, found)
        ]
        print(json.dumps(documents[0] if len(documents) == 1 else documents, indent=2))
        return 0
    for path, guesses in zip(arguments.images, found):
        print(f"{path}: {guesses[0].name}")
        for guess in guesses:
            print(f"  {100 * guess.probability:5.1f} %  {guess.name}")
    return 0


def likeliest(chances: dict[str, float]) -> str:
    """The name with the largest probability."""
    return max(chances, key=lambda name: chances[name])


def bars(chances: dict[str, float], width: int = 40) -> str:
    """The probabilities above one in a thousand as a list of bars, the largest first.

    >>> print(bars({"3": 0.75, "8": 0.25}, 8))
      3   75.0 %  ██████
      8   25.0 %  ██
    """
    lines: list[str] = []
    for name, chance in sorted(chances.items(), key=lambda item: -item[1]):
        if chance >= 1e-3 or not lines:
            eighths = round(chance * width * 8)
            bar = BAR[-1] * (eighths // 8) + (BAR[eighths % 8] if eighths % 8 else "")
            lines.append(f"  {name:<2} {100 * chance:5.1f} %  {bar or BAR[1]}".rstrip())
    return "\n".join(lines)
