"""Files of D-FINE and DEIM: those of their authors' repositories, and those of transformers.

Facts from the sources of Peterande/D-FINE (`src/zoo/dfine`, `src/nn/backbone`, Apache-2.0), of DEIM
(`engine/deim/dfine_decoder.py`, `configs/base/deim.yml`: the same names, SiLU in the decoder; Apache-2.0) and of
transformers 5.24 (`models/d_fine`, `models/hgnet_v2`, Apache-2.0).
"""

import re
from dataclasses import replace

from focalkit.detection.weights.layouts.layout import Layout

_FUSION = (("fpn_blocks", "top_down"), ("pan_blocks", "bottom_up"))

AUTHORS = Layout(
    name="dfine",
    library="D-FINE",
    mark=re.compile(r"decoder\.pre_bbox_head\..*"),
    table=(
        ("backbone.stem.{rest}", "backbone.net.stem.{rest}"),
        ("backbone.stages.{n}.{rest}", "backbone.net.stages_{n}.{rest}"),
        ("encoder.input_proj.{rest}", "neck.input_proj.{rest}"),
        ("encoder.encoder.0.layers.0.{rest}", "neck.attention.{rest}"),
        ("encoder.lateral_convs.{rest}", "neck.lateral.{rest}"),
        ("encoder.downsample_convs.{n}.0.cv1.{rest}", "neck.down.{n}.0.{rest}"),
        ("encoder.downsample_convs.{n}.0.cv2.{rest}", "neck.down.{n}.1.{rest}"),
        *(
            (f"encoder.{theirs}.{{n}}.{part}.{{rest}}", f"neck.{ours}.{{n}}.{own}.{{rest}}")
            for theirs, ours in _FUSION
            for part, own in (
                ("cv1", "conv1"),
                ("cv2.0", "csp1"),
                ("cv2.1", "conv2"),
                ("cv3.0", "csp2"),
                ("cv3.1", "conv3"),
                ("cv4", "conv4"),
            )
        ),
        ("decoder.decoder.layers.{rest}", "head.layers.{rest}"),
        ("decoder.decoder.lqe_layers.{n}.reg_conf.{rest}", "head.qualities.{n}.estimate.{rest}"),
        ("decoder.pre_bbox_head.{rest}", "head.first_box.{rest}"),
        ("decoder.denoising_class_embed.{p}", "head.label_embedding.{p}"),
        ("decoder.query_pos_head.{rest}", "head.query_position.{rest}"),
        ("decoder.enc_output.proj.{p}", "head.proposal.0.{p}"),
        ("decoder.enc_output.norm.{p}", "head.proposal.1.{p}"),
        ("decoder.enc_score_head.{p}", "head.class_output.0.{p}"),
        ("decoder.enc_bbox_head.{rest}", "head.box_output.0.{rest}"),
        ("decoder.dec_score_head.{n}.{p}", "head.class_output.{n+1}.{p}"),
        ("decoder.dec_bbox_head.{n}.{rest}", "head.box_output.{n+1}.{rest}"),
    ),
)
DEIM = replace(AUTHORS, name="deim", library="DEIM")


def _hgnet(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    """A convolution, its norm and what follows the activation."""
    return (
        (f"{theirs}.convolution.{{p}}", f"{ours}.conv.{{p}}"),
        (f"{theirs}.normalization.{{p}}", f"{ours}.bn.{{p}}"),
        (f"{theirs}.lab.{{p}}", f"{ours}.lab.{{p}}"),
    )


_PARTS = (
    "downsample",
    "blocks.{b}.layers.{l}.conv1",
    "blocks.{b}.layers.{l}.conv2",
    "blocks.{b}.layers.{l}",
    "blocks.{b}.aggregation.{a}",
)
_ENCODER, _DECODER = (
    ("model.encoder.aifi.0.layers.0", "neck.attention"),
    ("model.decoder.layers.{n}", "head.layers.{n}"),
)


def _layer(theirs: str, ours: str, last: str) -> tuple[tuple[str, str], ...]:
    """Self-attention, and the network with its norm."""
    return (
        (f"{theirs}.self_attn.in_proj_{{p}}", f"{ours}.self_attn.in_proj_{{p}}"),
        (f"{theirs}.self_attn.o_proj.{{p}}", f"{ours}.self_attn.out_proj.{{p}}"),
        (f"{theirs}.self_attn_layer_norm.{{p}}", f"{ours}.norm1.{{p}}"),
        (f"{theirs}.mlp.layers.0.{{p}}", f"{ours}.linear1.{{p}}"),
        (f"{theirs}.mlp.layers.1.{{p}}", f"{ours}.linear2.{{p}}"),
        (f"{theirs}.final_layer_norm.{{p}}", f"{ours}.{last}.{{p}}"),
    )


TRANSFORMERS = Layout(
    name="transformers",
    library="transformers",
    mark=re.compile(r"model\.decoder\.pre_bbox_head\..*"),
    table=(
        *(
            pair
            for stem in ("stem1", "stem2a", "stem2b", "stem3", "stem4")
            for pair in _hgnet(f"model.backbone.model.embedder.{stem}", f"backbone.net.stem.{stem}")
        ),
        *(
            pair
            for part in _PARTS
            for pair in _hgnet(f"model.backbone.model.encoder.stages.{{n}}.{part}", f"backbone.net.stages_{{n}}.{part}")
        ),
        ("model.encoder_input_proj.{n}.0.{p}", "neck.input_proj.{n}.conv.{p}"),
        ("model.encoder_input_proj.{n}.1.{p}", "neck.input_proj.{n}.norm.{p}"),
        *_layer(*_ENCODER, "norm2"),
        ("model.encoder.lateral_convs.{rest}", "neck.lateral.{rest}"),
        ("model.encoder.downsample_convs.{n}.conv1.{rest}", "neck.down.{n}.0.{rest}"),
        ("model.encoder.downsample_convs.{n}.conv2.{rest}", "neck.down.{n}.1.{rest}"),
        *(
            (f"model.encoder.{theirs}.{{n}}.{part}.{{rest}}", f"neck.{ours}.{{n}}.{own}.{{rest}}")
            for theirs, ours in _FUSION
            for part, own in (
                *((name, name) for name in ("conv1", "conv2", "conv3", "conv4")),
                ("csp_rep1", "csp1"),
                ("csp_rep2", "csp2"),
            )
        ),
        *_layer(*_DECODER, "norm3"),
        ("model.decoder.layers.{n}.encoder_attn.{rest}", "head.layers.{n}.cross_attn.{rest}"),
        ("model.decoder.layers.{n}.gateway.{rest}", "head.layers.{n}.gateway.{rest}"),
        ("model.decoder.lqe_layers.{n}.reg_conf.{rest}", "head.qualities.{n}.estimate.{rest}"),
        ("model.decoder.pre_bbox_head.{rest}", "head.first_box.{rest}"),
        ("model.denoising_class_embed.{p}", "head.label_embedding.{p}"),
        ("model.decoder.query_pos_head.{rest}", "head.query_position.{rest}"),
        ("model.enc_output.{n}.{p}", "head.proposal.{n}.{p}"),
        ("model.enc_score_head.{p}", "head.class_output.0.{p}"),
        ("model.enc_bbox_head.{rest}", "head.box_output.0.{rest}"),
        ("model.decoder.class_embed.{n}.{p}", "head.class_output.{n+1}.{p}"),
        ("model.decoder.bbox_embed.{n}.{rest}", "head.box_output.{n+1}.{rest}"),
    ),
    older=(  # second names of the outputs
        ("class_embed.{n}.{p}", "head.class_output.{n+1}.{p}"),
        ("bbox_embed.{n}.{rest}", "head.box_output.{n+1}.{rest}"),
    ),
)
