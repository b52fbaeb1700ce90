"""int8 files: smaller numbers inside, nearly the same answers outside."""

import numpy as np
import pytest
import torch

from focalkit.export import _openvino, export_detector, load_exported

CALIBRATION = 4


def near(path, detector, images):
    """int8 outputs follow the model's: correlated, and not equal."""
    loaded = load_exported(path)
    assert loaded.model.info["int8"]
    batch = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = detector.model(batch), loaded.model(batch)
    for level in (0, 1):
        for a, b in ((expected.logits, found.logits), (expected.deltas, found.deltas)):
            x, y = a[level].flatten().numpy(), b[level].flatten().numpy()
            assert np.corrcoef(x, y)[0, 1] > 0.97
            assert not np.array_equal(x, y)
    assert len(loaded.predict(images[:1])[0]) > 0


def test_onnx_runtime_quantises_the_convolutions(detector, images, exported, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    import onnx

    exported("onnx", False)  # the network is converted once for all
    path = export_detector(detector, tmp_path / "int8.onnx", calibrate_on=images[:CALIBRATION]).path
    near(path, detector, images)
    graph = onnx.load(path).graph
    weights = {i.name: i.data_type for i in graph.initializer}
    assert list(weights.values()).count(onnx.TensorProto.INT8) >= 10
    makers = {output: node for node in graph.node for output in node.output}
    logits = [makers[f"logits_p{level}"] for level in range(3, 8)]
    assert [node.op_type for node in logits] == ["Conv"] * 5, "the last class convolution is not quantised"


def test_openvino_quantises_the_convolutions(detector, images, exported, tmp_path, capsys):
    pytest.importorskip("nncf")
    pytest.importorskip("onnxscript")

    exported("onnx", False)
    path = export_detector(detector, tmp_path / "i.xml", format="openvino", calibrate_on=images[:CALIBRATION]).path
    assert capsys.readouterr().out == "", "progress goes to stderr"
    near(path, detector, images)
    model = _openvino.core().read_model(path)
    assert sum(node.get_type_name() == "FakeQuantize" for node in model.get_ops()) >= 10
