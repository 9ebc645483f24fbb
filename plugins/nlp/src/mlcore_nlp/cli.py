"""The commands `mlcore embed` and `mlcore generate`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any


def add_commands(subparsers: Any) -> None:
    """Add both commands to mlcore's parser."""
    embed = subparsers.add_parser(
        "embed",
        help="texts as vectors, and how near their meanings are",
        description="Prints the cosines between texts: 1 for the same meaning, about 0 for none in common. "
        "With --json the vectors themselves, one list a text.",
    )
    embed.add_argument("texts", metavar="TEXT", nargs="+", help="texts; - reads lines from standard input")
    _add_shared(embed, "nlp/minilm")
    embed.add_argument("--json", action="store_true", help="print the texts, vectors and cosines as JSON")
    embed.set_defaults(run=run_embed)
    generate = subparsers.add_parser(
        "generate",
        help="continue a text with a language model",
        description="Continues a text token by token, and prints it as it comes. The likeliest token is taken, unless "
        "--temperature, --top-k or --top-p is given: then tokens are drawn.",
    )
    generate.add_argument("prompt", metavar="TEXT", help="the text to continue; - reads standard input")
    _add_shared(generate, "nlp/smollm2")
    generate.add_argument(
        "--max-new-tokens", type=int, default=50, metavar="N", help="how many tokens (default 50)"
    )
    generate.add_argument(
        "--temperature", type=float, help="below 1: likelier tokens more often; above 1: less"
    )
    generate.add_argument("--top-k", type=int, metavar="K", help="draw among the K likeliest tokens")
    generate.add_argument("--top-p", type=float, metavar="P", help="draw among the likeliest that sum to P")
    generate.add_argument("--seed", type=int, default=0, help="of what is drawn (default 0)")
    generate.add_argument(
        "--stop", action="append", metavar="TEXT", help="end before this text; may be repeated"
    )
    generate.add_argument("--stats", action="store_true", help="tokens a second, to standard error")
    generate.set_defaults(run=run_generate)


def _add_shared(parser: Any, model: str) -> None:
    parser.add_argument(
        "--model",
        default=model,
        help=f"a name of `mlcore.list_models()`, a folder, or a GGUF file (default {model})",
    )
    parser.add_argument(
        "--device", help="such as cpu or reference (default: MLCORE_DEVICE, else the fastest)"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="of the weights (default float32)"
    )


def _model(arguments: argparse.Namespace, needs: str) -> Any:
    """The model that was asked for, which must have the method `needs`."""
    import mlcore as ml
    from mlcore.errors import ArgumentError
    from mlcore_nlp.auto import FACTORIES, from_pretrained

    dtype = None if arguments.dtype is None else getattr(ml, arguments.dtype)
    name = arguments.model
    found = (
        ml.create_model(name, dtype=dtype)
        if name in FACTORIES or not Path(name).exists()
        else from_pretrained(name, dtype=dtype)
    )
    if not hasattr(found, needs):
        raise ArgumentError(
            f"{name} is a {type(found).__name__}, which cannot {needs}", fix="choose another --model"
        )
    return found


def run_embed(arguments: argparse.Namespace) -> int:
    """`mlcore embed`; returns the exit status."""
    import mlcore as ml

    texts = [
        line for one in arguments.texts for line in (sys.stdin.read().splitlines() if one == "-" else [one])
    ]
    with ml.device(arguments.device) if arguments.device else nullcontext():
        encoder = _model(arguments, "encode")
        vectors = encoder.encode(texts)
        cosines = encoder.similarity(vectors, vectors).tolist()
    if arguments.json:
        print(json.dumps({"texts": texts, "vectors": vectors.tolist(), "cosines": cosines}))
        return 0
    for i, (text, row) in enumerate(zip(texts, cosines, strict=True), start=1):
        print(f"{i:>3}  " + " ".join(f"{one:7.4f}" for one in row) + f"  {text}")
    return 0


def run_generate(arguments: argparse.Namespace) -> int:
    """`mlcore generate`; returns the exit status."""
    import mlcore as ml

    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt

    def say(piece: str) -> None:
        sys.stdout.write(piece)
        sys.stdout.flush()

    with ml.device(arguments.device) if arguments.device else nullcontext():
        model = _model(arguments, "generate")
        say(prompt)
        start = time.perf_counter()
        text = model.generate(
            prompt, max_new_tokens=arguments.max_new_tokens, temperature=arguments.temperature, top_k=arguments.top_k,
            top_p=arguments.top_p, seed=arguments.seed, stop=arguments.stop, stream=say,
        )  # fmt: skip
        seconds = time.perf_counter() - start
    print()
    if arguments.stats:
        count = len(model.tokenizer.encode(text, special=False))
        print(f"{count} tokens in {seconds:.2f} s, {count / seconds:.1f} a second", file=sys.stderr)
    return 0
