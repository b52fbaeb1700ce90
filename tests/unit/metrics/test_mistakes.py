"""TIDE's kinds of mistakes on boxes drawn for it; what they cost, worked out on paper."""

import pytest
import torch

from focalkit.evaluation import MISTAKE_KINDS, find_mistakes, mistake_costs

BOX = (0.0, 0.0, 10.0, 10.0)
HALF = (5.0, 0.0, 15.0, 10.0)  # overlaps BOX by 1/3
FAR = (50.0, 50.0, 60.0, 60.0)


def judged(found, truth, **crowd):
    """Rows of (box, score, label), and of (box, label)."""
    boxes = torch.tensor([box for box, *_ in found]).reshape(-1, 4)
    scores = torch.tensor([score for _, score, _ in found], dtype=torch.float64)
    labels = torch.tensor([label for *_, label in found], dtype=torch.int64)
    gt_boxes = torch.tensor([box for box, _ in truth]).reshape(-1, 4)
    gt_labels = torch.tensor([label for _, label in truth], dtype=torch.int64)
    return find_mistakes(boxes, scores, labels, gt_boxes, gt_labels, **crowd)


def kinds(found, truth):
    return [[*MISTAKE_KINDS, "ignored", "right"][k] for k in judged(found, truth).kind.tolist()]


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [
        (BOX, 1, "classification"),
        (HALF, 0, "localisation"),
        (HALF, 1, "both"),
        (BOX, 0, "duplicate"),
        (FAR, 0, "background"),
    ],
)
def test_every_kind_is_told_apart(box, label, kind):
    assert kinds([(BOX, 0.9, 0), (box, 0.8, label)], [(BOX, 0)]) == ["right", kind]


def test_a_box_is_missed_unless_something_is_mistaken_about_it_in_class_or_place_alone():
    for box, label, missed in ((BOX, 1, False), (HALF, 0, False), (HALF, 1, True), (FAR, 0, True)):
        assert judged([(box, 0.8, label)], [(BOX, 0)]).missed.tolist() == [missed]
    assert judged([], [(BOX, 0)]).counts["missed"] == 1
    assert judged([], []).counts == dict.fromkeys(MISTAKE_KINDS, 0)


def test_without_boxes_everything_is_background():
    assert kinds([(BOX, 0.9, 0), (FAR, 0.8, 1)], []) == ["background", "background"]


def test_what_lies_in_a_crowd_is_no_mistake():
    crowd = {"crowd_boxes": torch.tensor([FAR]), "crowd_labels": torch.tensor([0])}
    found = judged([(FAR, 0.9, 0), (FAR, 0.9, 1)], [(BOX, 0)], **crowd)
    assert found.counts["background"] == 1
    assert found.matches.ignored.tolist() == [True, False]


def test_leaving_out_low_scores_is_the_same_as_never_having_had_them():
    rows = [(BOX, 0.9, 1), (BOX, 0.8, 0), (HALF, 0.3, 0), (FAR, 0.2, 0)]
    truth = [(BOX, 0), (FAR, 1)]
    for threshold in (0.1, 0.25, 0.5, 0.85, 0.95):
        kept = judged([row for row in rows if row[1] >= threshold], truth)
        cut = judged(rows, truth).above(threshold)
        assert cut.counts == kept.counts
        assert cut.kind.tolist() == kept.kind.tolist()
        assert cut.matches.f1 == kept.matches.f1


def test_costs_are_what_ap50_gains():
    # one class, two boxes; background .9, right .8, and the other box badly placed at .7. Sorted: wrong, right, wrong,
    # so precision 1/2 up to recall 1/2 and nothing beyond: 51 of 101 recalls
    found = judged(
        [(FAR, 0.9, 0), (BOX, 0.8, 0), ((105.0, 0.0, 115.0, 10.0), 0.7, 0)], [(BOX, 0), ((100.0, 0.0, 110.0, 10.0), 0)]
    )
    costs = mistake_costs([found])
    assert costs["AP50"] == pytest.approx(51 / 101 / 2)
    # right from the start, then wrong: precision 1 up to recall 1/2
    assert costs["background"] == pytest.approx(51 / 101 - costs["AP50"])
    # wrong, right, right: precision 2/3 everywhere
    assert costs["localisation"] == pytest.approx(2 / 3 - costs["AP50"])
    assert [costs[kind] for kind in ("classification", "both", "duplicate", "missed")] == [0, 0, 0, 0]


def test_one_box_is_mended_once():
    twice = [(BOX, 0.9, 1), (BOX, 0.8, 2)]
    costs = mistake_costs([judged(twice, [(BOX, 0)])])
    assert costs["AP50"] == 0
    assert costs["classification"] == pytest.approx(1)
    # the surest is mistaken about the place, so mending classes only takes the other away
    costs = mistake_costs([judged([(HALF, 0.9, 0), (BOX, 0.8, 1)], [(BOX, 0)])])
    assert (costs["classification"], costs["localisation"]) == (0, pytest.approx(1))


def test_missed_boxes_need_not_be_found():
    costs = mistake_costs([judged([(BOX, 0.9, 0)], [(BOX, 0), (FAR, 0)])])
    assert costs["AP50"] == pytest.approx(51 / 101)
    assert costs["missed"] == pytest.approx(1 - 51 / 101)


def test_overlaps_out_of_order_are_refused():
    with pytest.raises(ValueError, match="background < foreground"):
        judged([], [(BOX, 0)], foreground=0.1, background=0.5)
