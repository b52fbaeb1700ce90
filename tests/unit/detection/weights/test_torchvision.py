"""torchvision's RetinaNets with random weights and living statistics, against the same weights loaded here."""

import math

import pytest
import torch
from torch import nn
from torchvision.models.detection import retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2
from torchvision.models.detection._utils import overwrite_eps
from torchvision.ops.misc import FrozenBatchNorm2d

from focalkit.detection import Detector, flatten_level, load_weights, pad_batch, save_weights
from focalkit.detection.weights import weights_as
from focalkit.images import fit_size, resize

MIN, MAX = 128, 192


def live(make, images):
    """A model whose activations neither die nor explode, and with a few hundred detections in each image."""
    torch.manual_seed(3)
    model = make(weights=None, weights_backbone=None, min_size=MIN, max_size=MAX).eval()
    for name, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
            nn.init.uniform_(layer.weight, 0.1, 0.3) if name.endswith("bn3") else nn.init.uniform_(layer.weight, 0.5, 1)
            nn.init.normal_(layer.bias, std=0.1)
    x = model.transform(images)[0].tensors
    with torch.no_grad():
        model.backbone.train()(x)
        features = list(model.backbone.eval()(x).values())
        heads = model.head.classification_head, model.head.regression_head
        for head, output in zip(heads, (heads[0].cls_logits, heads[1].bbox_reg), strict=True):
            for layer in head.conv.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            values = torch.cat([output(head.conv(f)).flatten() for f in features])
            output.weight /= values.std() * (1 if output is heads[0].cls_logits else 2)
            nn.init.normal_(output.bias, std=0.3)
        logits = model.head(features)["cls_logits"].flatten()
        heads[0].cls_logits.bias += math.log(0.05 / 0.95) - logits.sort().values[-len(logits) // 200]
    return model


def frozen(model):
    """As the published first model: frozen BatchNorm with no epsilon, in the old names."""
    for parent in list(model.modules()):
        for key, layer in list(parent.named_children()):
            if isinstance(layer, nn.BatchNorm2d):
                new = FrozenBatchNorm2d(layer.num_features)
                new.load_state_dict(layer.state_dict())
                setattr(parent, key, new)
    overwrite_eps(model, 0.0)
    return model


def old_names(state):
    """The names of torchvision 0.12, which the published first model has."""
    old = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "head" and parts[2] == "conv":
            parts[3:5] = [str(2 * int(parts[3]))]
        if parts[2] in ("inner_blocks", "layer_blocks"):
            del parts[4]
        old[".".join(parts)] = tensor
    return old


class Case:
    def __init__(self, theirs, state, images):
        self.theirs, self.state, self.ours = theirs, state, load_weights(state)
        self.images = images
        self.detector = Detector(self.ours, min_size=MIN, max_size=MAX)


@pytest.fixture(scope="module")
def first(photographs):
    model = frozen(live(retinanet_resnet50_fpn, [image.float() / 255 for image in photographs]))
    return Case(model, old_names(model.state_dict()), photographs)


@pytest.fixture(scope="module")
def second(photographs):
    model = live(retinanet_resnet50_fpn_v2, [image.float() / 255 for image in photographs])
    return Case(model, model.state_dict(), photographs)


@pytest.fixture(params=["first", "second"])
def case(request):
    return request.getfixturevalue(request.param)


@torch.no_grad()
def test_logits_deltas_and_anchors_are_torchvisions(case):
    images = [image.float() / 255 for image in case.images]
    batch, _ = case.theirs.transform(images)
    features = list(case.theirs.backbone(batch.tensors).values())
    head, anchors = case.theirs.head(features), case.theirs.anchor_generator(batch, features)
    sizes = [fit_size(*image.shape[1:], MIN, MAX, "torchvision") for image in images]
    assert sizes == [tuple(size) for size in batch.image_sizes]
    resized = [resize(image, size, "torchvision") for image, size in zip(case.images, sizes, strict=True)]
    out = case.ours(pad_batch(resized, case.ours.pixel_mean.tolist()))
    for levels, width, theirs in ((out.logits, 91, head["cls_logits"]), (out.deltas, 4, head["bbox_regression"])):
        ours = torch.cat([flatten_level(level, width) for level in levels], 1)
        assert theirs.std() > 0.5
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert torch.equal(torch.cat(out.priors), anchors[0])


@torch.no_grad()
def test_detections_are_torchvisions(case, assert_same_detections):
    """Theirs of each image by itself: in a batch torchvision pads it to the largest, which changes what it finds."""
    theirs = [case.theirs([image.float() / 255])[0] for image in case.images]
    for one, other in zip(theirs, case.detector.predict(case.images), strict=True):
        assert_same_detections(other, one["boxes"], one["scores"], one["labels"])


def test_the_file_says_which_torchvision_it_is(case):
    card = case.ours.card
    n = card.config.numerics
    first = case.theirs.head.classification_head.cls_logits.weight.shape == (819, 256, 3, 3) and n.p6_from == "p5"
    assert (n.norm_eps, n.p6_from, card.config.head_norm) == ((0.0, "p5", "none") if first else (1e-5, "c5", "group"))
    assert (n.rounded_anchors, n.anchor_stride, n.max_detections, n.resize) == (True, "image", 300, "torchvision")
    assert card.categories[1] == (1, "person")
    assert card.categories[90] == (90, "toothbrush")


def test_written_back_every_weight_is_the_same_and_torchvision_takes_them(case, tmp_path):
    path = tmp_path / "back.pth"
    left = save_weights(case.ours, path, layout="torchvision")
    # torchvision builds its first model with an epsilon unless it downloads the weights
    assert left == ({} if case.ours.card.config.numerics.norm_eps else {"norm_eps": (0.0, 1e-5)})
    state = torch.load(path, weights_only=True)
    make = retinanet_resnet50_fpn_v2 if case.ours.card.config.head_norm == "group" else retinanet_resnet50_fpn
    with torch.device("meta"):
        fresh = make(weights=None, weights_backbone=None)
    fresh.load_state_dict(state, assign=True)
    original = case.theirs.state_dict()
    assert all(torch.equal(tensor, original[name]) for name, tensor in state.items())
    assert {n for n in original if "num_batches" not in n} == set(state)


def test_through_detectron2s_names_and_back_nothing_changes(first):
    there = weights_as(first.ours, "detectron2")
    assert "backbone.bottom_up.res2.0.shortcut.norm.running_var" in there
    back = load_weights(there, "detectron2", numerics=first.ours.card.config.numerics)
    assert back.card.config == first.ours.card.config
    ours = first.ours.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in back.state_dict().items())
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        for one, other in zip(first.ours(x).logits, back(x).logits, strict=True):
            assert torch.equal(one, other)
