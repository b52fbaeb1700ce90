"""Each check fires on data made to show it, and is silent on data that do not."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from focalkit.findings import (
    CATALOG,
    Finding,
    check_boxes,
    check_classes,
    check_columns,
    check_duplicates,
    hash_rows,
    suspect_labels,
)
from focalkit.findings.labels import find_suspects, out_of_fold
from focalkit.findings.table import separation

ROOT = Path(__file__).parents[3]


def codes(found):
    return [f.code for f in found]


def test_balanced_classes_with_enough_examples_give_no_finding():
    assert check_classes([100, 120], ["a", "b"]) == []


def test_the_ratio_of_the_classes_is_that_of_the_counts():
    (found,) = check_classes([1000, 40], ["common", "rare"])
    assert (found.code, found.values["ratio"], found.values["rarest"]) == ("FK101", 25, "rare")


def test_a_class_without_examples_is_no_second_class():
    assert codes(check_classes([10, 0], ["a", "b"])) == ["FK103"]


def test_rare_classes_are_named():
    assert "'b' (3)" in check_classes([10_000, 3], ["a", "b"])[1].seen


def test_rows_are_equal_if_and_only_if_their_hashes_are():
    generator = np.random.default_rng(0)
    table = generator.integers(0, 4, (500, 3)).astype(float)
    table[generator.random(table.shape) < 0.1] = np.nan
    words = generator.choice(["x", "y", ""], 500)
    hashes = hash_rows([*table.T, words])
    keys = [(*map(str, row), word) for row, word in zip(table.tolist(), words.tolist(), strict=True)]
    assert len(np.unique(hashes)) == len(set(keys))
    same = dict(zip(keys, hashes.tolist(), strict=True))
    assert [same[key] for key in keys] == hashes.tolist()


def test_the_order_of_columns_matters_and_minus_zero_is_zero():
    a, b = np.array([1.0, 2.0]), np.array([2.0, 1.0])
    assert hash_rows([a, b]).tolist() != hash_rows([b, a]).tolist()
    assert hash_rows([np.array([0.0])]) == hash_rows([np.array([-0.0])])


def test_copies_conflicts_and_leaks_are_counted():
    hashes = np.array([1, 1, 2, 3, 1], dtype=np.uint64)
    splits = {"train": np.array([0, 2]), "test": np.array([1, 3, 4])}
    copies, conflict, leak = check_duplicates(hashes, np.array([0, 1, 0, 0, 0]), splits)
    assert copies.values == {"copies": 2, "items": 5, "most": 3}
    assert conflict.values == {"groups": 1, "items": 3}
    assert leak.values == {"split": "test", "shared": 2, "items": 3}


def test_different_items_give_no_finding():
    assert check_duplicates(np.arange(9, dtype=np.uint64), np.zeros(9)) == []


def test_mammography_holds_3335_copies(shared):
    file = shared / "data" / "tabular" / "mammography.csv.gz"
    table = np.loadtxt(file, delimiter=",", skiprows=1, dtype=str)
    features = [column.astype(float) for column in table[:, :-1].T]
    assert check_duplicates(hash_rows(features))[0].values["copies"] == 3335


def test_columns_that_are_missing_constant_unique_or_the_target_are_named():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 200)
    columns = {
        "good": generator.normal(size=200),
        "holes": np.where(generator.random(200) < 0.2, np.nan, 1.0 + labels * generator.random(200)),
        "same": np.full(200, 7.0),
        "id": np.arange(200),
        "leak": np.where(labels == 1, "yes", "no"),
    }
    found = {f.code: f.values["columns"] for f in check_columns(columns, labels)}
    assert set(found) == {"FK114", "FK115", "FK116", "FK117"}
    assert list(found["FK114"]) == ["holes"]
    assert (found["FK115"], found["FK117"], list(found["FK116"])) == (["same"], ["id"], ["leak"])


def test_the_separation_of_a_number_is_its_auroc():
    generator = np.random.default_rng(1)
    labels = (generator.random(300) < 0.2).astype(int)
    values = np.round(generator.normal(size=300) + labels, 1)
    assert separation(values, labels) == pytest.approx(roc_auc_score(labels, values))
    assert separation(-values, labels) == pytest.approx(roc_auc_score(labels, values))


def test_a_string_that_differs_in_every_row_does_not_separate():
    labels = np.array([0, 1] * 30)
    assert separation(np.array([f"row {i}" for i in range(60)], dtype=object), labels) == 0.5


def test_a_flipped_label_is_found_and_leads_the_list():
    generator = np.random.default_rng(1)
    labels = np.repeat([0, 1], 150)
    features = generator.normal(size=(300, 2)) + 6 * labels[:, None]
    labels[7] = 1
    (found,) = suspect_labels(features, labels, ["a", "b"])
    assert found.values["items"] == 1
    assert (found.values["surest"][0]["item"], found.values["surest"][0]["looks_like"]) == (7, "a")


def test_a_model_that_is_often_wrong_calls_no_label_wrong():
    generator = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], [120, 60, 25])
    features = generator.normal(size=(205, 30)) + 0.7 * labels[:, None] * (np.arange(30) < 4)
    probabilities = out_of_fold(features, labels)
    assert len(find_suspects(probabilities, labels)[0]), "some it is sure of"
    assert (probabilities.argmax(1) != labels).mean() > 0.2
    assert suspect_labels(features, labels, ["a", "b", "c"]) == []


def test_clean_labels_give_no_suspects():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.55, 0.45]])
    assert len(find_suspects(probabilities, np.array([0, 0, 1, 1]))[0]) == 0


def test_a_class_that_the_model_does_not_know_is_not_called_wrong():
    # items of class 1 look like class 0 to the model throughout: it is the model that is weak
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.95, 0.05], [0.9, 0.1], [0.4, 0.6]])
    assert len(find_suspects(probabilities, np.array([0, 0, 1, 1, 1]))[0]) == 0


def test_copies_are_named_where_items_have_names():
    hashes = np.array([1, 1, 2, 1], dtype=np.uint64)
    copies, conflict = check_duplicates(
        hashes, np.array([0, 1, 0, 0]), ids=np.array(["a.png", "b.png", "c.png", "d.png"])
    )
    assert copies.seen.endswith(": a.png = b.png = d.png")
    assert conflict.seen.endswith(": a.png = b.png = d.png")


def test_anchors_and_empty_images():
    summary = {"images": 10, "empty_images": 6}
    levels = [{"positives": 2, "negatives": 10_000}]
    best = {"below_fg_iou": 0.2, "below_bg_iou": 0.1, "unmatched": 0.05}
    assert codes(check_boxes(summary, {"levels": levels, "best_iou": best, "boxes": 50})) == ["FK203", "FK201", "FK202"]
    assert check_boxes({"images": 10, "empty_images": 1}) == []


def test_the_pages_of_findings_are_current():
    spec = importlib.util.spec_from_file_location("findings_page", ROOT / "scripts" / "findings_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    there = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "docs" / "findings").glob("*.md")}
    assert there == module.pages(), "run scripts/findings_page.py"
    assert all(check.title and check.why and check.how and check.action for check in CATALOG.values())
    for code in CATALOG:
        page = ROOT / "docs" / Finding(code, "x").as_dict()["docs"]
        assert page.with_suffix(".md").is_file(), "what a finding names is its page"
