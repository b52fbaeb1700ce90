"""The detector on every kind of image, with a tiny network and with one whose answers are known."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from focalkit._config_io import config_to_dict
from focalkit._runs import RunDir
from focalkit.config import DecoderConfig, ModelConfig, TrainConfig
from focalkit.detection import DenseOutputs, Detector, build_detector, build_retinanet, compiled, folded, retinanet
from focalkit.errors import ConfigError, InputError

TINY = ModelConfig(backbone="tiny", backbone_norm="batch", freeze_at=0, fpn_channels=16, head_channels=16, head_depth=1)


class Bright(nn.Module):
    """Finds one box: the priors are the cells of 8 pixels, the logit is how bright a cell is."""

    num_classes = 1

    def __init__(self):
        super().__init__()
        self.register_buffer("pixel_mean", torch.tensor([0.5, 0.25, 0.75]))
        self.weight = nn.Parameter(torch.tensor(20.0))
        self.seen = []

    def forward(self, images):
        self.seen.append((tuple(images.shape), self.training, torch.is_grad_enabled(), images))
        cells = nn.functional.avg_pool2d(images.mean(1, keepdim=True), 8)
        h, w = cells.shape[-2:]
        y, x = torch.meshgrid(torch.arange(h) * 8.0, torch.arange(w) * 8.0, indexing="ij")
        priors = torch.stack([x, y, x + 8, y + 8], -1).view(-1, 4)
        return DenseOutputs(((cells - 0.8) * self.weight,), (cells.new_zeros(len(images), 4, h, w),), (priors,), 1)


def bright(**more):
    return Detector(Bright(), min_size=64, max_size=128, names=["light"], **more)


def picture(h=64, w=96, at=(16, 32), side=8):
    image = np.zeros((h, w, 3), np.uint8)
    image[at[0] : at[0] + side, at[1] : at[1] + side] = 255
    return image


@pytest.fixture
def run(tmp_path):
    """A run directory with random weights."""
    torch.manual_seed(0)
    config = TrainConfig(min_size=96, max_size=128, model=TINY)
    run = RunDir(tmp_path / "run")
    run.write_run({"config": config_to_dict(config), "categories": [{"id": 3, "name": "a"}, {"id": 7, "name": "b"}]})
    model = build_retinanet(config.model, 2)
    (run.path / "checkpoints").mkdir()
    torch.save({"model": model.state_dict()}, run.checkpoint("best"))
    return run


def test_boxes_come_back_in_the_pixels_of_the_image():
    (found,) = bright().predict(picture())
    assert found.boxes.tolist() == [[32, 16, 40, 24]]
    assert found.labels.tolist() == [0]
    assert found.names == ("light",)
    assert float(found.scores) == pytest.approx(1 / (1 + np.exp(-4)), rel=1e-5)
    twice = np.repeat(np.repeat(picture(), 2, 0), 2, 1)
    (found,) = bright().predict(twice)
    assert found.boxes.tolist() == [[64, 32, 80, 48]]


def test_every_kind_of_image_gives_the_same(tmp_path):
    array = picture()
    for name in ("a.png", "b.webp"):
        Image.fromarray(array).save(tmp_path / name, lossless=True)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    batch = tensor[None].float() / 255
    read_only = np.asarray(Image.fromarray(array))  # of which torch would warn
    assert not read_only.flags.writeable
    kinds = [array, read_only, array[..., 0], tensor, tensor / 255, tensor[:1], batch, Image.fromarray(array)]
    kinds += [tmp_path / "a.png", str(tmp_path / "b.webp"), [array], (tensor,)]
    for kind in kinds:
        (found,) = bright().predict(kind)
        assert found.boxes.tolist() == [[32, 16, 40, 24]]


def test_iterators_and_patterns_give_their_images(tmp_path):
    detector, images = Detector(Bright(), min_size=32, max_size=48), [torch.zeros(3, 32, 48), torch.ones(3, 32, 48)]
    streamed = detector.predict(image for image in images)
    assert [len(found) for found in streamed] == [0, 24]
    assert [found.source for found in streamed] == [None, None], "their images are let go"
    given = [*images, images[0].numpy()[0].astype("uint8"), tmp_path / "0.png"]
    for number, image in enumerate(images):
        Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    assert [found.source for found in detector.predict(given)] == [None, None, None, given[-1]], "and their pixels"
    (tmp_path / "notes.txt").write_text("")
    assert [len(found) for found in detector.predict(str(tmp_path / "*.*"))] == [0, 24]
    with pytest.raises(InputError, match=r"no image matches this pattern \(1 other"):
        detector.predict(str(tmp_path / "*.txt"))


def test_a_compiled_detector_finds_the_same_with_its_norms_folded(monkeypatch):
    asked = []
    monkeypatch.setattr(nn.Module, "compile", lambda part, **options: asked.append((type(part).__name__, options)))
    torch.manual_seed(0)
    detector = Detector(retinanet(2, "resnet18", prior_prob=0.5), min_size=64, max_size=64)
    for norm in (m for m in detector.model.modules() if type(m).__name__ == "FrozenNorm"):
        norm.running_var.uniform_(0.5, 2)
    found, image = compiled(detector), torch.rand(3, 64, 64)
    options = {"dynamic": False, "options": {"freezing": True}}
    assert asked == [(name, options) for name in ("StagedBackbone", "FPN", "RetinaNetHead")]
    kinds = [{type(module).__name__ for module in one.model.modules()} for one in (detector, found)]
    assert "NormedConv2d" in kinds[0]
    assert not {"NormedConv2d", "FrozenNorm"} & kinds[1]
    ours, theirs = detector.predict(image)[0], found.predict(image)[0]
    torch.testing.assert_close(theirs.scores, ours.scores, atol=1e-5, rtol=0)
    assert len(ours) > 20


SET = DecoderConfig(layers=1, queries=8, expansion=0.5, feedforward=16)


def test_folding_keeps_dtype_and_device():
    detector = Detector(build_detector(ModelConfig("resnet18", fpn_channels=16, head_depth=1), 3).double().eval())
    assert {t.dtype for t in folded(detector).model.parameters()} == {torch.float64}
    empty = copy.copy(detector)
    empty.model = detector.model.to("meta")
    assert {t.device.type for t in folded(empty).model.parameters()} == {"meta"}


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig("cspnext_tiny", "batch", 0, 16, head_channels=16, head_depth=1, detector="rtmdet"),
        ModelConfig("resnet18vd", "batch", 0, 16, detector="rtdetrv2", decoder=SET),
    ],
    ids=lambda config: config.detector,
)
def test_a_folded_detector_finds_the_same_without_norms_behind_convolutions(config):
    torch.manual_seed(0)
    detector = Detector(build_detector(config, 3).eval())
    for norm in (m for m in detector.model.modules() if isinstance(m, nn.BatchNorm2d)):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 1.5)
    before, image = copy.deepcopy(detector.model.state_dict()), torch.rand(1, 3, 64, 96)
    found = folded(detector)
    with torch.no_grad():
        ours, theirs = (one.model(image) for one in (detector, found))
    for a, b in zip((*ours.logits, *ours.deltas), (*theirs.logits, *theirs.deltas), strict=True):
        torch.testing.assert_close(b, a, atol=1e-4, rtol=1e-4)
    left = [name for name, m in found.model.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert all("_tower." in name for name in left), left
    assert all(torch.equal(t, before[name]) for name, t in detector.model.state_dict().items())


def test_a_folder_gives_its_images_in_order_and_passes_over_the_rest(tmp_path):
    (tmp_path / "sub").mkdir()
    for i, name in enumerate(("b.PNG", "a.jpg", "sub/c.webp", ".hidden.png")):
        Image.fromarray(picture(at=(8 * i, 0), side=16)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    found = bright().predict([picture(at=(40, 0), side=16), tmp_path])
    assert [round(float(f.boxes[:, 1].min())) for f in found] == [40, 8, 0, 16]


def test_results_keep_the_order_of_the_input_whatever_the_batches():
    rng = np.random.default_rng(0)
    images, at = [], []
    for i in range(23):
        h, w = (64, int(8 * rng.integers(8, 17)))[:: 1 if i % 2 else -1]  # the short side is not resized
        at.append((8 * int(rng.integers(h // 8)), 8 * int(rng.integers(w // 8))))
        images.append(picture(h, w, at[-1]))
    for batch_size in (1, 2, 16):
        found = bright().predict(images, batch_size=batch_size)
        assert [f.boxes.tolist() for f in found] == [[[x, y, x + 8, y + 8]] for y, x in at]


def test_images_of_one_size_share_a_batch():
    wide, tall = picture(64, 128), picture(128, 64)
    detector = bright()
    detector.predict([wide, tall] * 4, batch_size=4)
    assert [shape for shape, *_ in detector.model.seen] == [(4, 3, 64, 128), (4, 3, 128, 64)]


def test_padding_is_the_pixel_mean():
    detector = bright()
    detector.predict(picture(64, 72))
    (_, _, _, images) = detector.model.seen[0]
    assert images.shape[-1] == 96
    assert images[0, :, 0, -1].tolist() == [0.5, 0.25, 0.75]
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_the_threshold_can_be_given_per_call():
    image = picture()
    image[48:56, 80:88] = 210  # logit 20 * (210 / 255 - 0.8) = 0.47: score .615
    detector = bright(score_threshold=0.9)
    assert len(detector.predict(image)[0]) == 1
    assert len(detector.predict(image, score_threshold=0.5)[0]) == 2
    assert len(detector.predict(image, score_threshold=0.99)[0]) == 0
    assert len(detector.predict(image)[0]) == 1


def test_the_model_predicts_in_evaluation_mode_and_keeps_its_own():
    detector = bright()
    detector.model.train()
    (found,) = detector.predict(picture())
    (_, training, gradients, _) = detector.model.seen[0]
    assert (training, gradients) == (False, False)
    assert detector.model.training
    found.boxes[:] = 0  # an ordinary tensor, free to change


def test_predicting_in_between_does_not_disturb_training():
    model = retinanet(1, backbone="tiny", backbone_norm="batch", fpn_channels=8, head_channels=8, head_depth=1)
    Detector(model, min_size=64, max_size=64).predict(picture(64, 64))
    outputs = model.train()(torch.rand(1, 3, 64, 64))
    boxes = outputs.deltas[0].permute(0, 2, 3, 1).reshape(-1, 4) * outputs.priors[0]
    (boxes.square().sum() + outputs.logits[0].sum()).backward()
    assert model.backbone is not None


def test_urls_missing_files_and_what_is_no_image_are_named(tmp_path):
    detector = bright()
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no jpeg")
    (tmp_path / "empty").mkdir()
    cases = [
        ("https://example.org/cat.jpg", "https://example.org/cat.jpg: URLs are not read"),
        (Path("http://example.org/cat.jpg"), "URLs are not read"),
        (tmp_path / "gone.jpg", "gone.jpg: no such file"),
        (tmp_path / "broken.jpg", "broken.jpg: cannot be read"),
        (tmp_path / "empty", "empty: no images in this folder"),
        (picture() * 1.0, "values from"),
        (torch.full((3, 8, 8), 2.0), "values from 2 to 2"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"shape \(3, h, w\), got \(8, 8, 3\)"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "int64"),
        (None, "NoneType"),
        ([picture(), 7], "int"),
    ]
    for given, message in cases:
        with pytest.raises(InputError, match=message):
            detector.predict(given)


def test_nothing_in_nothing_out():
    assert bright().predict([]) == []


def test_a_stream_is_read_as_its_turn_comes():
    read = []

    def camera():
        for i in range(40):
            read.append(i)
            yield picture(at=(8 * (i % 8), 0))

    stream = bright().stream(camera(), batch_size=2)
    assert next(stream).boxes.tolist() == [[0, 0, 8, 8]]
    assert len(read) == 16
    assert [f.boxes[0, 1].item() / 8 for f in stream] == [i % 8 for i in range(1, 40)]


def test_from_run_builds_the_model_and_reads_its_best_weights(run):
    detector = Detector.from_run(run.path, device="cpu")
    assert (detector.names, detector.category_ids) == (("a", "b"), (3, 7))
    assert (detector.min_size, detector.max_size) == (96, 128)
    model = build_retinanet(TINY, 2)
    model.load_state_dict(torch.load(run.checkpoint("best"), weights_only=True)["model"])
    same = Detector(model, min_size=96, max_size=128, score_threshold=0.0)
    image = np.random.default_rng(0).integers(0, 255, (100, 140, 3), dtype=np.uint8)
    theirs, ours = same.predict(image)[0], detector.predict(image, score_threshold=0.0)[0]
    assert len(ours) == 100
    assert torch.equal(ours.boxes, theirs.boxes)
    assert torch.equal(ours.scores, theirs.scores)


def test_from_run_falls_back_to_the_last_checkpoint(run):
    weights = torch.load(run.checkpoint("best"), weights_only=True)
    weights["model"] = {k: torch.zeros_like(v) for k, v in weights["model"].items()}
    torch.save(weights, run.checkpoint("last"))
    assert any(p.any() for p in Detector.from_run(run.path).model.parameters())
    run.checkpoint("best").unlink()
    assert not any(p.any() for p in Detector.from_run(run.path).model.parameters())


def test_a_run_that_cannot_be_used_is_named(run, tmp_path):
    with pytest.raises(ConfigError, match="not a run directory"):
        Detector.from_run(tmp_path)
    config = run.read_config()
    other = replace(config, model=replace(config.model, fpn_channels=8))
    record = run.read_run()
    run.write_run({**record, "config": config_to_dict(other)})
    with pytest.raises(ConfigError, match="does not fit the model"):
        Detector.from_run(run.path)
    run.write_run(record)
    run.checkpoint("best").unlink()
    with pytest.raises(ConfigError, match="no checkpoint"):
        Detector.from_run(run.path)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut short"])
def test_a_damaged_checkpoint_is_named_with_what_to_do(run, content):
    run.checkpoint("best").write_bytes(content)
    named = r"best\.ckpt is damaged or not a checkpoint \(\w+\); restore it from a copy, or "
    with pytest.raises(ConfigError, match=named + "train again$"):
        Detector.from_run(run.path)
    run.checkpoint("last").touch()
    with pytest.raises(ConfigError, match=named + r"delete it, and last\.ckpt is read instead$"):
        Detector.from_run(run.path)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_here_is_named(run, device):
    with pytest.raises(InputError, match=f"the device '{device}' cannot be used"):
        Detector.from_run(run.path, device)


def test_a_checkpoint_cannot_run_code(run, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "was-here"), "w"))

    torch.save({"model": Evil()}, run.checkpoint("best"))
    with pytest.raises(ConfigError, match="damaged or not a checkpoint") as caught:
        Detector.from_run(run.path)
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "was-here").exists()


def test_the_number_of_names_must_be_the_number_of_classes():
    with pytest.raises(ValueError, match="expected 1 names, one for each class of the model, got 2"):
        Detector(Bright(), names=["a", "b"])
