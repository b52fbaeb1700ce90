"""The numpy post-processing against the one in torch, and alone on a machine without torch."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from focalkit.detection import fit_size, pad_batch
from focalkit.export import numpy_postprocess
from focalkit.export._metadata import describe

PAGE = Path(__file__).parents[3] / "docs" / "export.md"


DETECTORS = ("retinanet", "torchvision", "fcos", "atss", "gfl", "vfnet", "centernet", "rtmdet", "plain", "everything")


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("threshold", [0.05, 0.5])
def test_it_finds_what_the_one_in_torch_finds(name, threshold, detectors):
    detector = detectors(name)
    info = json.loads(json.dumps(describe(detector, nms=False, int8=False, display_threshold=None)))
    images = torch.rand(3, 3, 160, 224, generator=torch.Generator().manual_seed(0))
    sizes = [(160, 224), (155, 201), (32, 32)]
    with torch.no_grad():
        outputs = detector.model(images)
    expected = replace(detector.postprocess, score_threshold=threshold)(outputs, sizes)
    arrays = [level.numpy() for level in (*outputs.logits, *outputs.deltas, *(outputs.quality or ()))]
    found = numpy_postprocess.postprocess(arrays, sizes, info, score_threshold=threshold)
    assert len(expected[0]) > 10
    for (boxes, scores, labels), e in zip(found, expected, strict=True):
        np.testing.assert_allclose(boxes, e.boxes, atol=1e-3)
        np.testing.assert_allclose(scores, e.scores, atol=1e-6)
        assert labels.tolist() == e.labels.tolist()


def test_images_are_padded_and_sized_as_in_focalkit(detectors):
    for one in map(detectors, ("retinanet", "torchvision")):
        info = describe(one, nms=False, int8=False, display_threshold=None)
        for size in ((480, 640), (333, 500), (97, 1000), (5, 5)):
            assert numpy_postprocess.fit_size(*size, info) == fit_size(*size, one.min_size, one.max_size, one.resize)
    images = [np.random.default_rng(i).integers(0, 256, (40 + i, 70 - i, 3), dtype=np.uint8) for i in range(3)]
    expected = pad_batch([torch.from_numpy(i).permute(2, 0, 1) for i in images], info["pixel_mean"])
    np.testing.assert_array_equal(numpy_postprocess.pad_batch(images, info), expected)


def test_the_example_of_the_page_runs_without_torch_and_focalkit(detector, images, exported, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    code = next(b for b in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S) if "onnxruntime" in b)
    shutil.copy(exported("onnx", False).path, tmp_path / "model.onnx")
    shutil.copy(numpy_postprocess.__file__, tmp_path)
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    blocked = "import sys; sys.modules.update(torch=None, focalkit=None, torchvision=None)\n"
    ending = "\nimport json; print(json.dumps([boxes.tolist(), scores.tolist(), labels.tolist()]))"
    code = blocked + code.replace("photo.jpg", "photo.png") + ending
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    boxes, scores, labels = map(np.asarray, json.loads(done.stdout.splitlines()[-1]))
    (expected,) = detector.predict(tmp_path / "photo.png")
    # resized by Pillow there and by torchvision here: a grey level more or less
    few = min(len(expected), len(scores), 20)
    np.testing.assert_allclose(scores[:few], expected.scores[:few], atol=0.01)
    assert abs(len(scores) - len(expected)) <= 3
    best = np.abs(boxes - expected.boxes[0].numpy()).max(1).argmin()
    np.testing.assert_allclose(boxes[best], expected.boxes[0], atol=1)
    assert labels[best] == expected.labels[0]
