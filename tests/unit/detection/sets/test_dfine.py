"""D-FINE against transformers' own, built from a configuration with random weights and moved over."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from focalkit.config import DecoderConfig, ModelConfig, TrainConfig
from focalkit.detection import Assignment, DetectionTarget, build_criterion, build_detector, load_weights, matches
from focalkit.detection.boxes.side_scale import SideScale
from focalkit.detection.set_criterion import unite
from focalkit.detection.weights.layouts.dfine import AUTHORS, TRANSFORMERS
from focalkit.detection.weights.layouts.rtdetr import apart
from focalkit.errors import InputError

from .conftest import random_boxes, truths

SIZE = (96, 128)
LAYERS, QUERIES, NOISED = 3, 20, 12
TINY = ModelConfig(
    backbone="timm:hgnetv2_b0",
    freeze_at=0,
    fpn_channels=32,
    detector="dfine",
    neck_depth=1,
    decoder=DecoderConfig(LAYERS, QUERIES, expansion=0.5, points=3, feedforward=48, denoising=NOISED),
)

SIZES = {
    "S": ("b0", [16, 16], [16, 32, 64, 128], [64, 256, 512, 1024], [1, 1, 2, 1], 3, True, 0.5, 1),
    "M": ("b2", [24, 32], [32, 64, 128, 256], [96, 384, 768, 1536], [1, 1, 3, 1], 4, True, 1.0, 2),
    "L": ("b4", [32, 48], [48, 96, 192, 384], [128, 512, 1024, 2048], [1, 1, 3, 1], 6, False, 1.0, 3),
}
"""HGNetv2: channels of the stem, inside and behind each stage, blocks, layers of a block, affine; expansion, depth."""


@pytest.fixture(scope="module")
def build_peer():
    pytest.importorskip("transformers")
    pytest.importorskip("timm")
    from transformers import DFineConfig, DFineForObjectDetection
    from transformers.models.hgnet_v2.configuration_hgnet_v2 import HGNetV2Config

    def build(size="S"):
        _, stem, middles, outs, blocks, layers, affine, expansion, depth = SIZES[size]
        backbone = HGNetV2Config(
            stem_channels=[3, *stem],
            stage_in_channels=[stem[1], *outs[:3]],
            stage_mid_channels=middles,
            stage_out_channels=outs,
            stage_num_blocks=blocks,
            stage_numb_of_layers=[layers] * 4,
            use_learnable_affine_block=affine,
            out_indices=[2, 3, 4],
            hidden_sizes=outs,
            depths=blocks,
        )
        torch.manual_seed(0)
        model = DFineForObjectDetection(
            DFineConfig(
                backbone_config=backbone,
                encoder_in_channels=outs[1:],
                d_model=32,
                encoder_hidden_dim=32,
                decoder_in_channels=[32] * 3,
                encoder_ffn_dim=48,
                decoder_ffn_dim=48,
                decoder_layers=LAYERS,
                decoder_n_points=[3, 6, 3],
                num_queries=QUERIES,
                num_labels=4,
                hidden_expansion=expansion,
                depth_mult=depth / 3,
                num_denoising=NOISED,
                tie_word_embeddings=False,
            )
        )
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, torch.nn.Conv2d):  # else all cells look alike behind so many layers
                    torch.nn.init.kaiming_normal_(module.weight)
                for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
                    if "norm" in type(module).__name__.lower() and value.is_floating_point():
                        value.copy_(torch.rand_like(value) + (0.5 if name in ("weight", "running_var") else -0.5))
                    elif value.is_floating_point() and not value.any():  # what begins at zero would hide differences
                        value.copy_(torch.randn_like(value) * 0.1)
        return model

    return build


def moved(peer):
    state = {name: t.clone() for name, t in peer.state_dict().items() if name.startswith("model.")}
    model = load_weights(state)
    model.head.queries = QUERIES
    return model


def flat(level):
    return level.squeeze(-1).transpose(1, 2)


@pytest.mark.parametrize("size", ["S", *(pytest.param(size, marks=pytest.mark.soak) for size in "ML")])
def test_its_logits_and_boxes_are_transformers_own(build_peer, size):
    """In float64: in float32 what both lose to rounding in so deep a network is larger than the bound."""
    peer = build_peer(size).eval().double()
    model = moved(peer).double()
    config, (name, *_, expansion, depth) = model.card.config, SIZES[size]
    assert (config.backbone, config.neck_depth, config.decoder.expansion) == (f"timm:hgnetv2_{name}", depth, expansion)
    assert (config.decoder.layers, config.decoder.points, config.decoder.feedforward) == (LAYERS, 3, 48)
    agree(model, peer)


def test_a_file_of_deims_authors_is_a_d_fine_with_silu_in_the_decoder(build_peer, tmp_path):
    """Their names are D-FINE's; so that no file is taken for the other, one called DEIM has to be named."""
    peer = build_peer().eval()
    theirs = {AUTHORS.theirs(n) or n: t for n, t in moved(peer).state_dict().items()}
    file = tmp_path / "deim_dfine_s.pth"
    torch.save({"last_epoch": 119, "model": {}, "ema": {"module": theirs}}, file)
    with pytest.raises(InputError, match="say which it is: --layout deim or --layout dfine"):
        load_weights(file)
    model = load_weights(file, layout="deim")
    assert (model.card.config.detector, model.card.config.backbone) == ("deim", "timm:hgnetv2_b0")
    back = {AUTHORS.theirs(n) or n: t for n, t in model.state_dict().items()}
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[n], t) for n, t in theirs.items())
    model.head.queries = QUERIES
    from transformers.models.d_fine.modeling_d_fine import DFineMLP, DFineMLPPredictionHead

    for module in peer.modules():
        if isinstance(module, DFineMLPPredictionHead):  # whose ReLU is written into its `forward`
            module.forward = partial(DFineMLP.forward, module)
            module.act = torch.nn.SiLU()
        elif isinstance(module, DFineMLP) and isinstance(module.act, torch.nn.ReLU):
            module.act = torch.nn.SiLU()
    agree(model.double(), peer.double())
    with pytest.raises(AssertionError, match="not close"):
        agree(moved(peer).double(), peer)


def agree(model, peer):
    images = torch.rand(2, 3, *SIZE).double()
    with torch.no_grad():
        expected, found = peer(images), model(images)
    assert expected.logits.std() > 0.1
    assert expected.pred_boxes.std() > 0.1
    torch.testing.assert_close(flat(found.logits[0]), expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(flat(found.deltas[0]), expected.pred_boxes, atol=1e-5, rtol=1e-5, check_dtype=False)


def peer_losses(peer, images, labels, shared):
    """What the authors' criterion sums up, of transformers' outputs by transformers' terms.

    transformers' own sum pairs the layers' logits with the sides of other layers and leaves the last layer's sides
    out; which matches are united is the authors' rule and given.
    """
    from transformers.loss.loss_d_fine import DFineLoss

    criterion, out = DFineLoss(peer.config), peer.model(images, labels=labels)
    noised, _ = out.denoising_meta_values["dn_num_split"]
    boxes = max(sum(len(t["boxes"]) for t in labels), 1)
    united = max(sum(len(rows) for rows, _ in shared), 1)

    def layers(part):
        logits, found = out.intermediate_logits[:, :, part], out.intermediate_reference_points[:, :, part]
        sides, starts = out.intermediate_predicted_corners[:, :, part], out.initial_reference_points[:, :, part]
        first = {"logits": logits[:, 0], "pred_boxes": found[:, 0]}
        teacher = {"teacher_corners": sides[:, -1], "teacher_logits": logits[:, -1]}
        return [first] + [
            {
                "logits": logits[:, i + 1],
                "pred_boxes": found[:, i + 1],
                "pred_corners": sides[:, i],
                "ref_points": starts[:, i],
                **teacher,
            }
            for i in range(LAYERS)
        ]

    def judged(outputs, match, by, boxes_match, boxes_by):
        found = criterion.get_loss("vfl", outputs, labels, match, by)
        found |= criterion.get_loss("boxes", outputs, labels, boxes_match, boxes_by)
        found |= criterion.get_loss("local", outputs, labels, boxes_match, boxes_by)
        return {name: value * criterion.weight_dict[name] for name, value in found.items()}

    sums = {}
    proposals = {"logits": out.enc_topk_logits, "pred_boxes": out.enc_topk_bboxes}
    for outputs in [proposals, *layers(slice(noised, None))]:
        matched = criterion.matcher(outputs, labels)
        for name, value in judged(outputs, matched, boxes, shared, united).items():
            sums[name] = sums.get(name, 0) + value
    meta = out.denoising_meta_values
    mended = criterion.get_cdn_matched_indices(meta, labels)
    every = boxes * meta["dn_num_group"]
    dn = [v for o in layers(slice(noised)) for v in judged(o, mended, every, mended, every).values()]
    return {**sums, "denoising": torch.stack(dn).sum()}


@pytest.mark.parametrize("counts", [(3, 3), (4, 0)])
def test_its_losses_in_training_are_those_of_the_authors_criterion_with_the_same_noise(build_peer, counts):
    peer = build_peer().train()
    model = moved(peer).train()
    model.head.denoising = replace(model.head.denoising, queries=NOISED)
    images = torch.rand(2, 3, *SIZE)
    ours, theirs = truths(counts, size=SIZE)
    criterion = build_criterion(TrainConfig(model=model.card.config))
    torch.manual_seed(5)
    outputs = model(images, ours)
    found = criterion(outputs, ours)
    assert outputs.refinement.scores.shape == (2, QUERIES, 132)
    every = [criterion.assign(one, ours) for one in each_layer(outputs, 2)]
    shared = [
        (a.gt_index.ge(0).nonzero().flatten(), a.gt_index[a.gt_index >= 0])
        for a in unite([a for layer in every for a in layer], ours)
    ]
    torch.manual_seed(5)
    expected = peer_losses(peer, images, theirs, shared)
    names = {"classification": "loss_vfl", "box": "loss_bbox", "giou": "loss_giou", "sides": "loss_fgl",
             "distillation": "loss_ddf", "denoising": "denoising"}  # fmt: skip
    for name, other in names.items():
        torch.testing.assert_close(found[name], expected[other], atol=1e-5, rtol=1e-5)


def each_layer(outputs, images):
    rows = len(outputs.earlier.logits[0]) // images
    part = [slice(i * images, (i + 1) * images) for i in range(rows)]
    others = [
        replace(outputs, logits=(outputs.earlier.logits[0][p],), deltas=(outputs.earlier.deltas[0][p],)) for p in part
    ]
    return [outputs, *others]


def test_united_matches_are_every_query_that_a_layer_matched_with_its_most_frequent_box():
    def match(*index):
        return Assignment(torch.zeros(4).long(), torch.tensor(index))

    target = DetectionTarget(torch.zeros(3, 4), torch.tensor([5, 6, 7]))
    (found,) = unite([match(0, -1, 2, -1), match(1, -1, 2, -1), match(1, 0, -1, -1)], [target])
    assert found.gt_index.tolist() == [1, 0, 2, -1]
    assert found.labels.tolist() == [6, 5, 7, -1]
    (none,) = unite([match(-1, -1, -1, -1)], [DetectionTarget(torch.zeros(0, 4), torch.zeros(0).long())])
    assert none.gt_index.tolist() == none.labels.tolist() == [-1] * 4


def test_sides_and_their_positions_are_inverse():
    scale = SideScale()
    generator = torch.Generator().manual_seed(0)
    starts = random_boxes(50, generator=generator)
    shift = (torch.rand(50, 4, generator=generator) - 0.5) * 0.5
    size = starts[:, 2:].repeat(1, 2)
    low, high = starts[:, :2] - starts[:, 2:] / 2, starts[:, :2] + starts[:, 2:] / 2
    sides = torch.cat([low, high], dim=1) + shift * size
    boxes = torch.cat([(sides[:, :2] + sides[:, 2:]) / 2, sides[:, 2:] - sides[:, :2]], dim=1)
    positions = scale.positions(starts, boxes)
    left = positions.floor().long().clamp(max=scale.bins - 1)
    share = (positions - left).unsqueeze(-1)
    one_hot = torch.nn.functional.one_hot
    both = (1 - share) * one_hot(left, 33) + share * one_hot(left + 1, 33)
    torch.testing.assert_close(
        scale.decode(starts, both.clamp(min=1e-30).log().flatten(1)), boxes, atol=1e-5, rtol=1e-5
    )


def test_the_scale_of_sides_is_the_papers():
    """Eq. 5 with a = 1/2, c = 1/4: W(n) = c (a/c + 1)^((2n - N) / (N - 2)) - c, in box sizes; here times 4."""
    values = SideScale().values().double()
    for n in range(16, 32):
        assert float(values[n]) == pytest.approx(4 * (0.25 * 3 ** ((2 * n - 32) / 30) - 0.25), abs=1e-5)
    assert values[[0, 16, 32]].tolist() == [-4, 0, 4]
    assert torch.equal(values, -values.flip(0))


def test_sides_beyond_the_last_position_are_at_it():
    start, far = torch.tensor([[0.5, 0.5, 0.1, 0.1]]), torch.tensor([[0.5, 0.5, 0.9, 1e-6]])
    assert SideScale().positions(start, far).tolist()[0][::2] == [32.0, 32.0]


@pytest.mark.parametrize("layout", [AUTHORS, TRANSFORMERS])
def test_a_state_dict_of_each_library_comes_back_as_it_was(layout):
    pytest.importorskip("timm")
    model = build_detector(TINY, 4).eval()
    theirs = {layout.theirs(n) or n: t for n, t in model.state_dict().items()}
    assert not set(theirs) & set(model.state_dict())
    if layout is TRANSFORMERS:
        theirs = {**apart(theirs), "model.decoder.up": torch.tensor([0.5])}
    else:
        theirs |= {"decoder.up": torch.tensor([0.5]), "decoder.reg_scale": torch.tensor([4.0])}
    again = load_weights(theirs)
    again.head.queries = QUERIES
    assert (again.card.config.detector, again.card.config.backbone) == ("dfine", "timm:hgnetv2_b0")
    own, other = model.state_dict(), again.state_dict()
    assert all(torch.equal(own[n], other[n]) for n in own if "num_batches" not in n)
    wide = {n: torch.tensor([8.0]) if n.endswith((".up", ".reg_scale")) else t for n, t in theirs.items()}
    with pytest.raises(InputError, match="expected"):
        load_weights(wide)


def test_every_weight_learns_and_validation_has_the_same_losses(monkeypatch):
    pytest.importorskip("timm")
    model = build_detector(replace(TINY, backbone_norm="batch"), 4)
    criterion = build_criterion(TrainConfig(model=replace(TINY, detector="deim")))
    ours, _ = truths((2, 1), size=SIZE)
    outputs = model(torch.rand(2, 3, *SIZE), ours)
    losses = criterion(outputs, ours)
    assert set(losses) == {"classification", "box", "giou", "sides", "distillation", "denoising"}
    monkeypatch.setattr(matches, "counts_are_free", lambda device: False)  # as on a GPU: a row for every prior
    for name, loss in criterion(outputs, ours).items():
        torch.testing.assert_close(loss, losses[name])
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    with torch.no_grad():
        seen = criterion.eval()(model.eval()(torch.rand(2, 3, *SIZE)), ours)
    assert set(seen) == set(losses) - {"denoising"}
    assert all(torch.isfinite(v) for v in seen.values())
