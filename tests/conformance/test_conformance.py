"""Every loss of the catalog against every property, and against its transcription in mpmath.

The number of (loss x property) checks is printed at the end of the run (pytest -s, or the terminal summary).
"""

import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from focalkit.losses import LOSSES
from focalkit.testing import PROPERTIES, case_of, check_loss
from reference.catalog import references

SHAPE = (3, 4, 2)
SEEDS = [int(s) for s in os.environ.get("FOCALKIT_CONFORMANCE_SEEDS", "0").split(",")]
REFERENCES = references(SHAPE)

VARIANTS = [
    "focal(gamma=0.5)",
    "focal(gamma=0.0, alpha=None)",
    "focal(gamma=[0.0, 0.5, 1.0, 2.0], alpha=[0.1, 0.5, 0.9, 0.25])",
    "focal(gamma_neg=0.5, label_smoothing=0.1)",
    "softmax_focal(gamma=0.5)",
    "softmax_focal(gamma=5.0, label_smoothing=0.1)",
    "softmax_focal(alpha=[0.5, 1.0, 2.0, 0.1])",
    "asl(margin=0.0, gamma_neg=0.5)",
    "asl(margin=0.2)",
    "bce(label_smoothing=0.2, pos_weight=3.0)",
    "ce(label_smoothing=0.2)",
    "reduced_focal(gamma=0.5, threshold=0.3)",
    "dice(batch=True, smooth=0.0)",
    "tversky(activation='softmax')",
    "focal_tversky(exponent=0.5, smooth=0.0)",
    "unified_focal(symmetric=True)",
    "ghm_c(momentum=0.75, valid_bins=False)",
    "vs(tau=0.0)",
]
FIXED_SHAPE = ("focal(gamma=[", "softmax_focal(alpha=[")  # vectors over four classes
CHEAP = ["reductions agree", "a weight multiplies", "zero weight is absence", "ignored is absence"]
CHEAP += ["empty input", "permutation of the batch", "any number of axes", "low precision equals float64"]

done: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def count():
    torch.set_num_threads(1)
    yield
    print(f"\nconformance: {len(done)} loss x property checks over {len(LOSSES)} losses")


@pytest.mark.parametrize("property_", PROPERTIES)
@pytest.mark.parametrize("loss", [*LOSSES, *VARIANTS])
@pytest.mark.parametrize("seed", SEEDS)
def test_property(loss, property_, seed):
    if property_ == "one class" and loss.startswith(FIXED_SHAPE):
        return
    ran = check_loss(loss, shape=SHAPE, seed=seed, properties=[property_])
    assert ran
    done.extend(ran)


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize("seed", SEEDS)
def test_equals_its_transcription_in_mpmath(spec, seed):
    case = case_of(spec)
    for draw in case.samples:
        x, t = draw(SHAPE, torch.Generator().manual_seed(seed))
        if spec == "focal_infonce" or spec.startswith("hcl"):
            x, t = x[:3], t[:3]
        if spec.startswith(("unified", "efl", "asl_softmax")) and t.is_floating_point():
            t = t.argmax(1) if spec.startswith("unified") else t
        ours = case.build(SHAPE, reduction="none").double()(x, t).flatten()
        want = torch.tensor([float(v) for v in REFERENCES[spec](x, t)], dtype=torch.float64)
        assert ours.shape == want.shape
        worst = ((ours - want).abs() / want.abs().clamp(min=1e-3)).max().item()
        assert worst < 1e-12, f"off by {worst:.3g}"
        done.append(f"{spec}: mpmath")


def test_every_line_of_the_catalog_has_a_transcription():
    assert {spec.split("(")[0] for spec in REFERENCES} == set(LOSSES)


@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(shape=st.tuples(st.integers(1, 5), st.integers(2, 7), st.integers(1, 4)), seed=st.integers(0, 2**31))
def test_any_shape(loss, shape, seed):
    done.extend(check_loss(loss, shape=shape, seed=seed, properties=CHEAP))
