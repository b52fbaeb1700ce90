import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from focalkit.config import ModelConfig, TrainConfig, cpu_small
from focalkit.detection import (
    FPN,
    AnchorGrid,
    DenseOutputs,
    DensePostprocess,
    DetectionTarget,
    RetinaNet,
    RetinaNetHead,
    build_criterion,
    build_retinanet,
    flatten_level,
    pad_batch,
    retinanet,
)
from focalkit.errors import InputError


def small(num_classes=3, **arguments):
    torch.manual_seed(0)
    return retinanet(
        num_classes, **{"backbone": "tiny", "fpn_channels": 16, "head_channels": 16, "head_depth": 1, **arguments}
    )


def test_training_and_evaluation_return_the_same_type():
    model, images = small(), torch.rand(2, 3, 64, 96)
    for mode in (True, False):
        out = model.train(mode)(images)
        assert isinstance(out, DenseOutputs)
        assert [tuple(x.shape) for x in out.logits] == [(2, 27, -(-64 // s), -(-96 // s)) for s in (8, 16, 32, 64, 128)]
        assert [x.shape[1] for x in out.deltas] == [36] * 5
        assert [len(p) for p in out.priors] == [x.shape[2] * x.shape[3] * 9 for x in out.logits]
        assert out.num_classes == 3


@pytest.mark.parametrize("size", [(65, 97), (33, 200), (1, 1), (127, 31)])
@pytest.mark.parametrize("backbone", ["tiny", "mobilenet_v2_tf", "resnet18"])
def test_any_size_works(size, backbone):
    out = small(backbone=backbone).eval()(torch.rand(1, 3, *size))
    for x, d, p in zip(out.logits, out.deltas, out.priors, strict=True):
        assert flatten_level(x, 3).shape == (1, len(p), 3)
        assert flatten_level(d, 4).shape == (1, len(p), 4)


def test_an_image_does_not_feel_its_neighbours():
    model = small().eval()
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        together = model(images)
        for i in range(3):
            alone = model(images[i : i + 1])
            for a, b in zip(alone.logits + alone.deltas, together.logits + together.deltas, strict=True):
                torch.testing.assert_close(a[0], b[i], rtol=1e-4, atol=1e-5)


def test_padding_with_the_mean_is_padding_with_zeros_after_normalisation():
    model = small(backbone="mobilenet_v2_tf")
    batch = pad_batch([torch.rand(3, 32, 32), torch.rand(3, 64, 64)], model.pixel_mean.tolist())
    seen = []
    model.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(batch)
    assert seen[0][0, :, 32:].abs().max() == 0
    assert seen[0][0, :, :, 32:].abs().max() == 0
    torch.testing.assert_close(seen[0][1], (batch[1] - 0.5) / 0.5)


def test_weights_and_outputs_are_channels_last_and_flattening_is_a_view():
    model = small()
    kernels = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    assert all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)
    out = model(torch.rand(2, 3, 64, 64).contiguous())
    for x in out.logits + out.deltas:
        assert x.is_contiguous(memory_format=torch.channels_last)
    assert flatten_level(out.logits[0], 3).data_ptr() == out.logits[0].data_ptr()


def test_outputs_and_priors_have_the_same_order():
    # a head whose box channels say which anchor they are, on maps that say which cell
    model = small()
    a, h, w = 9, 3, 2
    cells = torch.arange(h * w, dtype=torch.float32).view(1, 1, h, w)
    anchors = torch.arange(a, dtype=torch.float32).view(1, a, 1, 1)
    flat = flatten_level((cells * 100 + anchors).expand(1, a, h, w).repeat_interleave(4, dim=1), 4)[0, :, 0]
    assert flat.tolist() == [100 * cell + anchor for cell in range(h * w) for anchor in range(a)]
    level = model.priors([(h, w)] * 5)[0].view(h * w, a, 4)
    centres = (level[..., :2] + level[..., 2:]) / 2
    torch.testing.assert_close(centres[:, 0], torch.tensor([[x * 8.0, y * 8.0] for y in range(h) for x in range(w)]))


def test_p6_comes_from_c5_and_p7_from_its_positive_part():
    neck = FPN((4, 6, 8), 5)
    maps = [torch.rand(1, c, s, s) for c, s in ((4, 16), (6, 8), (8, 4))]
    p3, p4, p5, p6, p7 = neck(maps)
    assert [x.shape[-1] for x in (p3, p4, p5, p6, p7)] == [16, 8, 4, 2, 1]
    torch.testing.assert_close(p6, neck.p6(maps[2]))
    torch.testing.assert_close(p7, neck.p7(F.relu(p6)))
    assert (p6 < 0).any()


def test_upsampling_repeats_each_cell_also_where_sizes_are_odd():
    neck = FPN((1, 1, 1), 1)
    with torch.no_grad():
        for conv in neck.lateral:
            conv.weight.fill_(1)
        neck.output[0].weight.zero_()[0, 0, 1, 1] = 1  # P3 is the merged map itself
    c5 = torch.rand(1, 1, 4, 3)
    p3 = neck([torch.zeros(1, 1, 13, 10), torch.zeros(1, 1, 7, 5), c5])[0]
    rows, columns = torch.arange(13) // 2 // 2, torch.arange(10) // 2 // 2
    torch.testing.assert_close(p3[0, 0], c5[0, 0][rows][:, columns])


def test_neck_needs_three_maps():
    with pytest.raises(ValueError, match="C3, C4, C5"):
        FPN((4, 8), 8)


def test_towers_share_weights_over_levels_and_not_with_each_other():
    head = RetinaNetHead(8, 2, channels=8, depth=2)
    same = torch.rand(1, 8, 4, 4)
    logits, deltas = head([same, same])
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(deltas[0], deltas[1])
    assert not {id(p) for p in head.class_tower.parameters()} & {id(p) for p in head.box_tower.parameters()}


def test_the_paper_head_has_four_convolutions_of_256_and_small_normal_weights():
    head = RetinaNetHead(256, 80)
    assert [tuple(c.weight.shape) for c in head.class_tower.convs] == [(256, 256, 3, 3)] * 4
    assert head.class_output.out_channels == 720
    assert head.box_output.out_channels == 36
    convs = (*head.class_tower.convs, *head.box_tower.convs, head.class_output, head.box_output)
    assert [float(conv.weight.detach().std()) for conv in convs] == [pytest.approx(0.01, rel=0.02)] * 10


def test_a_narrower_tower_passes_on_as_much_of_its_input():
    torch.manual_seed(0)
    shares = []
    for channels in (256, 64):
        head = RetinaNetHead(channels, 1, channels=channels)
        x = torch.rand(1, channels, 8, 8)
        shares.append(float(head.box_tower(x, 0).detach().square().mean() / x.square().mean()))
    assert 0.1 < shares[1] / shares[0] < 10  # N(0, .01) at 64 channels: a 256th
    assert float(head.box_output.weight.detach().std()) == pytest.approx(0.01, rel=0.03)


@pytest.mark.parametrize(("prior_prob", "probability"), [(0.01, 0.01), (0.2, 0.2), (None, 0.5)])
def test_prior_prob_sets_the_class_bias_and_nothing_else(prior_prob, probability):
    head = RetinaNetHead(8, 2, channels=8, depth=1, prior_prob=prior_prob)
    torch.testing.assert_close(head.class_output.bias.sigmoid(), torch.full((18,), probability))
    for conv in (head.box_output, *head.class_tower.convs, *head.box_tower.convs):
        assert (conv.bias == 0).all()


@pytest.mark.parametrize("norm", [None, "group", "batch"])
def test_each_norm_trains(norm):
    model = small(head_norm=norm, head_depth=2)
    targets = [DetectionTarget(torch.tensor([[8.0, 8.0, 40.0, 40.0]]), torch.tensor([1]))] * 2
    sum(build_criterion(TrainConfig())(model(torch.rand(2, 3, 64, 64)), targets).values()).backward()
    head = dict(model.head.named_parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.values())


def test_batch_norm_keeps_statistics_for_each_level():
    head = RetinaNetHead(4, 1, channels=4, depth=1, norm="batch", num_levels=2)
    head([torch.rand(2, 4, 8, 8), torch.rand(2, 4, 4, 4) + 5])
    first, second = head.class_tower.norms[0]
    assert not torch.allclose(first.running_mean, second.running_mean)


@pytest.mark.parametrize(("channels", "groups"), [(256, 32), (64, 16), (48, 8), (8, 2), (6, 1), (3, 1)])
def test_group_norm_has_32_groups_or_as_many_as_make_sense(channels, groups):
    head = RetinaNetHead(channels, 1, channels=channels, depth=1, norm="group")
    assert head.class_tower.norms[0][0].num_groups == groups
    assert head([torch.rand(1, channels, 1, 1)])[0][0].isfinite().all()  # the size of P7 in a small image


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"num_classes": 0}, "at least 1, got 0"), ({"num_classes": 2, "norm": "layer"}, "layer")],
)
def test_head_refuses_what_it_cannot_build(arguments, message):
    with pytest.raises(ValueError, match=message):
        RetinaNetHead(8, **arguments)


class Own(nn.Module):
    channels = (4, 5, 6)
    pixel_mean = (0.1, 0.2, 0.3)
    pixel_std = (1.0, 1.0, 1.0)

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, c, s, s) for c, s in zip(self.channels, (8, 16, 32), strict=True))

    def forward(self, x):
        return [conv(x) for conv in self.convs]


def test_any_module_with_channels_is_a_backbone():
    model = retinanet(2, Own(), fpn_channels=8, head_channels=8, head_depth=0)
    assert model(torch.rand(1, 3, 64, 64)).logits[0].shape == (1, 18, 8, 8)
    torch.testing.assert_close(model.pixel_mean, torch.tensor([0.1, 0.2, 0.3]))


def test_a_module_takes_no_weights_file():
    with pytest.raises(ValueError, match="brings its own weights"):
        retinanet(2, Own(), pretrained_backbone=True)


def test_parts_can_be_put_together_by_hand():
    model = RetinaNet(
        Own(), FPN((4, 5, 6), 8), RetinaNetHead(8, 2, 1, channels=8, depth=1), AnchorGrid(scales=(1.0,), ratios=(1.0,))
    )
    assert model(torch.rand(1, 3, 64, 64)).logits[0].shape == (1, 2, 8, 8)


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 64, 64), torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.zeros(1, 1, 8, 8)]
)
def test_wrong_images_are_refused_with_what_came(images):
    with pytest.raises(ValueError, match=r"expected float images \(b, 3, h, w\)"):
        small()(images)


def test_a_configuration_becomes_the_model_and_its_weights_fit_again():
    config = ModelConfig(
        backbone="tiny", fpn_channels=8, head_channels=8, head_depth=1, anchor_scales=(1.0,), head_norm="group"
    )
    model, again = build_retinanet(config, 4).eval(), build_retinanet(config, 4).eval()
    assert model(torch.rand(1, 3, 32, 32)).logits[0].shape == (1, 12, 4, 4)
    again.load_state_dict(model.state_dict())
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(model(images).logits[0], again(images).logits[0])


def test_the_laptop_preset_builds_with_the_folded_weights(shared):
    weights = shared / "data/weights_mobilenetv2_imagenet/mobilenet_v2_1.0_224_folded_fp16.npz"
    model = build_retinanet(cpu_small().model, 3, backbone_weights=weights)
    frozen = [name for name, p in model.backbone.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(int(name.split(".")[2]) < 4 for name in frozen)  # up to stride 4
    assert build_retinanet(ModelConfig(backbone="mobilenet_v2_tf"), 3).backbone.channels == model.backbone.channels


def test_an_unknown_backbone_is_refused():
    with pytest.raises(InputError, match="did you mean"):
        retinanet(3, "resnet-50")


def test_a_copy_shares_nothing():
    model = small()
    twin = copy.deepcopy(model)
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in twin.parameters()}
    assert next(m.weight for m in twin.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)).is_contiguous(
        memory_format=torch.channels_last
    )


def test_it_learns_two_boxes_by_heart():
    model = small(num_classes=2, fpn_channels=32, head_channels=32)
    images = torch.zeros(1, 3, 96, 96)
    images[0, 0, 8:40, 8:40] = 1
    images[0, 2, 40:88, 48:80] = 1
    truth = DetectionTarget(torch.tensor([[8.0, 8.0, 40.0, 40.0], [48.0, 40.0, 80.0, 88.0]]), torch.tensor([0, 1]))
    criterion = build_criterion(TrainConfig())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(60):
        optimizer.zero_grad()
        sum(criterion(model(images), [truth]).values()).backward()
        optimizer.step()
    with torch.no_grad():
        found = DensePostprocess(score_threshold=0.5)(model(images), [(96, 96)])[0]
    for label, box in enumerate(truth.boxes):
        best = (found.labels == label).nonzero()[0, 0]
        torch.testing.assert_close(found.boxes[best], box, rtol=0, atol=3.0)
