"""Which items an epoch sees."""

import numpy as np
import pytest
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from torch.utils.data import DataLoader

from focalkit.errors import ConfigError
from focalkit.sampling import (
    SAMPLERS,
    EpochSampler,
    draw_weights,
    epoch_indices,
    item_repeat_factors,
    read_sampler,
    resample_table,
    taught_prior,
    under_bagging,
)

LABELS = np.repeat([0, 1, 2], [900, 90, 10])
SPECS = [None, "over", "over(ratio=0.5)", "under", "under(ratio=0.25)", "sqrt", "class_balanced", "repeat_factor(t=.2)"]


@pytest.mark.parametrize("spec", SPECS)
def test_the_taught_prior_is_what_epochs_hold(spec):
    drawn = np.concatenate([LABELS[epoch_indices(spec, LABELS, 0, epoch)] for epoch in range(40)])
    share = np.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(share, taught_prior(spec, [900, 90, 10]), atol=0.006)


@pytest.mark.parametrize(("spec", "peer"), [("over", RandomOverSampler), ("under", RandomUnderSampler)])
def test_sizes_are_those_of_imbalanced_learn(spec, peer):
    _, y = peer(random_state=0).fit_resample(LABELS[:, None], LABELS)
    chosen = LABELS[epoch_indices(spec, LABELS, 0, 0)]
    np.testing.assert_array_equal(np.bincount(chosen), np.bincount(y))


def test_repeat_factors_are_those_of_the_paper():
    # Gupta et al., sec. 3: r_c = max(1, sqrt(t / f_c)); here f = .9, .09, .01 and t = .2
    expected = np.array([1, np.sqrt(0.2 / 0.09), np.sqrt(0.2 / 0.01)])
    counts = np.mean(
        [np.bincount(LABELS[epoch_indices("repeat_factor(t=0.2)", LABELS, 1, e)]) for e in range(200)], axis=0
    )
    np.testing.assert_allclose(counts / [900, 90, 10], expected, rtol=0.02)


@pytest.mark.parametrize("spec", SPECS)
def test_epochs_differ_and_seeds_fix_them(spec):
    first = epoch_indices(spec, LABELS, 3, 0)
    np.testing.assert_array_equal(first, epoch_indices(spec, LABELS, 3, 0))
    assert (np.resize(epoch_indices(spec, LABELS, 3, 1), len(first)) != first).any()


@pytest.mark.parametrize("spec", ["over", "under"])
def test_what_is_chosen_once_stays_for_all_epochs(spec):
    a, b = (np.sort(epoch_indices(spec, LABELS, 5, epoch)) for epoch in (0, 9))
    np.testing.assert_array_equal(a, b)


def test_over_keeps_every_item():
    assert set(epoch_indices("over", LABELS, 0, 0)) == set(range(1000))


def test_draw_weights_give_each_class_its_share():
    weights = draw_weights(LABELS)
    np.testing.assert_allclose([weights[c == LABELS].sum() for c in range(3)], 1.0)


def test_a_sampler_serves_a_data_loader():
    sampler = EpochSampler("under", LABELS, seed=0)
    loader = DataLoader(list(LABELS), batch_size=30, sampler=sampler)
    assert len(sampler) == 30
    assert np.bincount(next(iter(loader))).tolist() == [10, 10, 10]
    assert sampler.epoch == 1


@pytest.mark.parametrize("categorical", [(), (2,), (0, 1, 2)])
def test_smote_fills_the_rare_classes_between_their_rows(categorical):
    random = np.random.default_rng(0)
    y = np.repeat([0, 1], [200, 12])
    x = np.concatenate([random.normal(size=(212, 2)) + 5 * y[:, None], random.integers(0, 3, (212, 1))], 1)
    x = np.round(x) if len(categorical) == 3 else x
    new_x, new_y = resample_table(x.astype(np.float32), y, "smote(k=5)", categorical=categorical, seed=0)
    assert np.bincount(new_y).tolist() == [200, 200]
    rare = x[y == 1]
    made = new_x[new_y == 1]
    assert (made >= rare.min(0) - 1e-5).all()
    assert (made <= rare.max(0) + 1e-5).all()
    if categorical:
        assert set(made[:, 2]) <= set(rare[:, 2])


def test_smote_needs_two_rows_of_a_class():
    with pytest.raises(ConfigError, match="one class has 1 row"):
        resample_table(np.zeros((5, 1), np.float32), np.array([0, 0, 0, 0, 1]), "smote")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ovr", "no sampler 'ovr'; did you mean \"over\""),
        ("over(ration=1)", "no argument 'ration'"),
        ("over(ratio=0)", "above 0 and at most 1"),
        ("over(ratio=2)", "above 0 and at most 1"),
        ("smote(k=-1)", "above 0"),
        ("under(ratio='all')", "must be a number"),
    ],
)
def test_a_wrong_sampler_is_named(spec, message):
    with pytest.raises(ConfigError, match=message):
        read_sampler(spec)


def test_new_rows_are_for_tables():
    with pytest.raises(ConfigError, match="only tables"):
        epoch_indices("smote", LABELS, 0, 0)


def test_every_sampler_reads_with_its_defaults():
    assert {name: read_sampler(name)[1] for name in SAMPLERS} == SAMPLERS


def test_an_unknown_ensemble_is_named():
    with pytest.raises(ConfigError, match="no ensemble 'easy'"):
        under_bagging("easy")


def test_an_item_is_repeated_as_its_rarest_class_is() -> None:
    labels = [[0]] * 90 + [[0, 1]] * 9 + [[0, 1, 2]] + [[]]
    factors = item_repeat_factors(labels, t=0.25)
    assert factors[:90].tolist() == [1.0] * 90
    assert factors[90] == pytest.approx((0.25 * 101 / 10) ** 0.5)
    assert factors[99] == pytest.approx((0.25 * 101 / 1) ** 0.5)
    assert factors[100] == 1.0
