"""`mlcore embed` and `mlcore generate`, as people type them, and what the package is to mlcore."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlcore_nlp import BertConfig, ByteTokenizer, LlamaConfig, SentenceEncoder

import mlcore as ml
from mlcore.cli import main


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of each kind, in folders."""
    ml.manual_seed(0)
    place = tmp_path_factory.mktemp("models")
    sizes = dict(
        vocab_size=259, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    SentenceEncoder(BertConfig(**sizes).build(), ByteTokenizer()).save_pretrained(place / "encoder")
    decoder = LlamaConfig(**sizes, initializer_range=0.3).build()
    decoder.tokenizer = ByteTokenizer()
    decoder.save_pretrained(place / "decoder")
    return place


def test_embed(models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["embed", "one", "two", "--model", str(models / "encoder"), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["one", "two"]
    assert lines[0].split()[:2] == ["1", "1.0000"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
    assert main(["embed", "-", "--model", str(models / "encoder"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["texts"] == ["one", "two"]
    vectors = np.array(found["vectors"])
    assert vectors.shape == (2, 8)
    np.testing.assert_allclose(vectors @ vectors.T, found["cosines"], atol=1e-5)


def test_generate(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "abc", "--model", str(models / "decoder"), "--max-new-tokens", "8"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.startswith("abc")
    assert main([*command, "--device", "reference"]) == 0
    assert capsys.readouterr().out == said
    drawn = [*command, "--temperature", "3", "--top-k", "200", "--top-p", "0.99"]
    assert main([*drawn, "--seed", "1", "--stats"]) == 0
    first = capsys.readouterr()
    assert main([*drawn, "--seed", "1", "--dtype", "float32"]) == 0
    assert capsys.readouterr().out == first.out != said
    assert "tokens in" in first.err


BAD = [
    (["embed", "x", "--model", "{}/decoder"], "is a LlamaForCausalLM, which cannot encode"),
    (["generate", "x", "--model", "{}/encoder"], "is a SentenceEncoder, which cannot generate"),
    (["generate", "x", "--model", "nlp/smollm3"], "did you mean 'nlp/smollm2'"),
    (["generate", "", "--model", "{}/decoder"], "an empty text"),
    (["generate", "x", "--model", "{}/decoder", "--top-p", "2"], "top_p=2.0"),
]


@pytest.mark.parametrize(("command", "text"), BAD, ids=[text for _, text in BAD])
def test_bad_input(command: list[str], text: str, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([one.format(models) for one in command]) != 0
    assert text in capsys.readouterr().err


def test_the_plugin_is_light() -> None:
    """Nothing heavy is imported before it is used."""
    asked = "*('tokenizers' in sys.modules, 'mlcore_nlp.bert' in sys.modules)"
    program = f"import sys, mlcore, mlcore_nlp.plugin; print({asked})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.assets
@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_the_commands_with_their_own_models(device: str, mlcore_asset: Callable[[str], Path]) -> None:
    """The same lines on each device, which MLCORE_DEVICE chooses."""
    embed = ["embed", "That is a happy person", "That is a very happy person", "Today is a sunny day"]
    generate = ["generate", "The capital of France is", "--max-new-tokens", "1"]
    for asset, command, said in (
        ("minilm", embed, "1.0000  0.9429  0.2569  That is a happy person\n"),
        ("smollm2", generate, "The capital of France is Paris\n"),
    ):
        mlcore_asset(asset)
        done = subprocess.run(
            [sys.executable, "-P", "-m", "mlcore", *command], env={**os.environ, "MLCORE_DEVICE": device},
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


def test_it_is_found() -> None:
    assert "nlp" in {one.name for one in ml.domains()}
    assert set(ml.list_models("nlp/*")) == {"nlp/minilm", "nlp/smollm2"}
