"""mlcore export, external data, names, and what a written model holds."""

import os
import stat

import numpy as np
import onnx
import pytest
from mlcore_onnx import export

import mlcore as ml
from mlcore import nn
from mlcore.cli import main
from mlcore.errors import ArgumentError, DTypeError, FormatError, UnsupportedOpError

MODELS = """
from mlcore import nn

class Net(nn.Module):
    \"\"\"Two layers.\"\"\"

    def __init__(self, width=16):
        super().__init__()
        self.first = nn.Linear(4, width)
        self.last = nn.Linear(width, 2)

    def forward(self, x):
        return self.last(self.first(x).gelu())
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    (tmp_path / "exported.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "exported", raising=False)
    return "exported:Net"


def runtime():
    if "MLCORE_LEG" not in os.environ:
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def test_the_command_writes_a_file(models, capsys) -> None:
    assert (
        main(["export", models, "width=8", "--in", "B 4", "-o", "net.onnx", "--opset", "18", "--no-verify"])
        == 0
    )
    out = capsys.readouterr().out
    assert "ONNX Runtime" not in out
    assert "opset 18" in out
    assert "in   x [B, 4]" in out
    assert "out  output [B, 2]" in out
    made = onnx.load("net.onnx")
    assert (made.ir_version, made.opset_import[0].version) == (8, 18)
    assert made.producer_name == "mlcore"
    assert made.graph.doc_string == "Two layers."
    assert not os.path.exists("net.onnx.part")


def test_the_command_takes_weights_and_compares(models, tmp_path, capsys) -> None:
    runtime()
    import exported

    net = exported.Net()
    ml.save(net.state_dict(), "net.safetensors")
    words = ["export", models, "--in", "B 4", "-o", "net.onnx", "--weights", "net.safetensors"]
    assert main(words) == 0
    assert "ONNX Runtime differs by at most" in capsys.readouterr().out
    held = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load("net.onnx").graph.initializer}
    np.testing.assert_array_equal(held["first.weight"], np.asarray(net.first.weight.detach()))


def test_verifying_finds_a_file_of_another_model(models, tmp_path) -> None:
    runtime()
    import exported
    from mlcore_onnx.export_verify import difference

    net, other = exported.Net(), exported.Net()
    export(other, (3, 4), tmp_path / "net.onnx")
    with pytest.raises(FormatError, match="gives something else"):
        difference(net, (ml.random.normal((3, 4)),), {}, tmp_path / "net.onnx")


def test_what_onnx_runtime_lacks_is_told(models, tmp_path, capsys) -> None:
    runtime()
    (tmp_path / "wide.py").write_text(
        "from mlcore import nn\n\ndef make():\n    return nn.LSTM(5, 7).to(dtype='float64')\n"
    )
    words = ["export", "wide:make", "--in", "4 3 5 float64", "-o", "net.onnx"]
    assert main(words) == 1
    assert "not compared" in capsys.readouterr().out
    assert main([*words, "--verify"]) == 2
    assert "ONNX Runtime does not run it" in capsys.readouterr().err


def test_parameters_go_to_a_file_beside_it(models, tmp_path) -> None:
    net = nn.Linear(300, 400)
    path = tmp_path / "net.onnx"
    export(net, (2, 300), path, external_data=True)
    assert path.stat().st_size < 4000
    beside = tmp_path / "net.onnx.data"
    assert beside.stat().st_size >= 4 * 300 * 400
    assert stat.S_IMODE(beside.stat().st_mode) == stat.S_IMODE(path.stat().st_mode)
    whole = onnx.load(path)  # with its data
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(whole.graph.initializer[0]), np.asarray(net.weight.detach())
    )
    runtime()
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    x = np.ones((2, 300), np.float32)
    np.testing.assert_allclose(
        session.run(None, {"input": x})[0], net(ml.asarray(x)).numpy(), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(ArgumentError, match="need a file beside"):
        export(net, (2, 300), external_data=True)


def test_names_shapes_and_places_are_kept(models) -> None:
    import exported

    made = export(
        exported.Net(),
        (3, 4),
        dynamic_shapes={"x": ("rows",)},
        input_names=["features"],
        output_names=["logits"],
    )
    assert [one.name for one in made.graph.input] == ["features"]
    assert [one.name for one in made.graph.output] == ["logits"]
    assert [node.op_type for node in made.graph.node] == ["Gemm", "Gelu", "Gemm"]
    first = made.graph.node[0]
    assert first.doc_string == "linear, first (Linear), exported.py:13, in forward"
    assert list(first.output) == ["first.linear"]
    (info,) = [one for one in made.graph.value_info if one.name == "first.linear"]
    assert [one.dim_param or one.dim_value for one in info.type.tensor_type.shape.dim] == ["rows", 16]
    for names in ({"input_names": ["a", "b"]}, {"output_names": []}):
        with pytest.raises(ArgumentError, match="names"):
            export(exported.Net(), (3, 4), **names)


@pytest.mark.parametrize("opset", range(17, 22))
def test_composites_are_one_node_where_the_opset_has_them(opset) -> None:
    net = nn.Sequential(nn.LayerNorm(8), nn.GELU(), nn.BatchNorm1d(8), nn.Softmax(dim=-1))
    made = export(net, (3, 8), opset=opset)
    kinds = [node.op_type for node in made.graph.node]
    wanted = ["LayerNormalization", "Gelu", "BatchNormalization", "Softmax"]
    assert kinds == wanted if opset >= 20 else ("Erf" in kinds and "Gelu" not in kinds)
    assert (made.opset_import[0].version, made.ir_version) == (
        opset,
        {17: 8, 18: 8, 19: 9, 20: 9, 21: 10}[opset],
    )


def test_what_comes_in_may_go_out(tmp_path) -> None:
    class Through(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(ml.ones((2,)))

        def forward(self, x):
            y = x.relu()
            return {"same": x, "twice": (y, y), "weight": self.weight, "zero": ml.zeros((3,))}

    made = export(Through(), (4,))
    assert [one.name for one in made.graph.output] == [
        "output.same", "output.twice.0", "output.twice.1", "output.weight", "output.zero"
    ]  # fmt: skip
    runtime()
    import onnxruntime

    x = np.asarray([-1, 0, 1, 2], np.float32)
    found = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    for got, want in zip(found, (x, x.clip(0), x.clip(0), np.ones(2), np.zeros(3)), strict=True):
        np.testing.assert_array_equal(got, want)


def test_what_has_no_form_is_refused_with_its_place() -> None:
    class Net(nn.Module):
        def forward(self, x):
            return ml.cumulative_prod(x, axis=0)

    with pytest.raises(UnsupportedOpError, match="scan_prod has no form in ONNX's opset 20") as caught:
        export(nn.Sequential(Net()), (3,))
    assert "no cumulative product" in str(caught.value)
    assert "test_export_command.py" in str(caught.value)
    with pytest.raises(UnsupportedOpError, match="checker refuses the model"):
        export(nn.Conv1d(1, 1, 1).to(ml.bfloat16), (1, 1, 3), dtype=ml.bfloat16, opset=17)
    with pytest.raises(DTypeError, match="complex"):
        export(lambda x: x + 1, (3,), dtype=ml.complex64)
    with pytest.raises(ArgumentError, match="opset 22"):
        export(nn.ReLU(), (3,), opset=22)
    with pytest.raises(UnsupportedOpError, match="follows from input 'input' was asked for"):
        export(lambda input: input if bool(input.any()) else -input, (3,))
