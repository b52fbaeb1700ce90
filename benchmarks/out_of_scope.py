"""Out-of-scope queries as a threshold problem (CLINC150; Larson et al., 2019): a cut on the most probable intent.

TF-IDF of words and pairs, logistic regression per intent, temperature on the validation queries. Compared: out-of-scope
as a class of its own, and the intents alone with a cut chosen on the validation queries by `choose_thresholds` so that
a given share of in-scope queries is kept.

    python benchmarks/out_of_scope.py --data CLINC_FOLDER
"""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from focalkit._files import write_json_atomic
from focalkit.calibration import TemperatureScaling, choose_thresholds
from focalkit.metrics import expected_calibration_error

HERE = Path(__file__).parent
KEPT = (0.99, 0.975, 0.95)
Queries = list[tuple[str, str]]


def fitted(train: Queries) -> tuple[Any, Any]:
    """The features and the classifier."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    x = words.fit_transform([text for text, _ in train])
    return words, LogisticRegression(C=30.0, max_iter=60, tol=1e-3).fit(x, [intent for _, intent in train])


def logits(model: tuple[Any, Any], queries: Queries) -> np.ndarray:
    words, classifier = model
    return classifier.decision_function(words.transform([text for text, _ in queries]))


def rates(inside: np.ndarray, outside: np.ndarray) -> dict[str, float]:
    """In-scope accuracy and out-of-scope recall, in per cent."""
    return {"in_scope_accuracy": 100 * float(inside.mean()), "oos_recall": 100 * float(outside.mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "out_of_scope.json")
    args = parser.parse_args()
    data: dict[str, Queries] = json.loads(gzip.decompress((args.data / "data_full.json.gz").read_bytes()))
    result: dict[str, Any] = {
        "command": "python benchmarks/out_of_scope.py --data CLINC_FOLDER",
        "versions": {"scikit-learn": sklearn.__version__, "torch": torch.__version__},
    }

    model = fitted(data["train"] + data["oos_train"])
    named = model[1].classes_[logits(model, data["test"]).argmax(1)]
    outside = model[1].classes_[logits(model, data["oos_test"]).argmax(1)] == "oos"
    result["class of its own"] = rates(named == [intent for _, intent in data["test"]], outside)

    model = fitted(data["train"])
    place = {intent: k for k, intent in enumerate(model[1].classes_)}
    val = logits(model, data["val"])
    labels = np.array([place[intent] for _, intent in data["val"]])
    scaling = TemperatureScaling().fit(val, labels)
    z = {name: logits(model, data[name]) for name in ("val", "oos_val", "test", "oos_test")}
    p = {name: scaling.transform(values) for name, values in z.items()}
    test_labels = np.array([place[intent] for _, intent in data["test"]])
    result["temperature"] = {
        "T": scaling.temperature,
        "ECE before": expected_calibration_error(torch.from_numpy(z["test"]).softmax(1), test_labels),
        "ECE after": expected_calibration_error(p["test"], test_labels),
    }
    right = p["test"].argmax(1) == test_labels
    result["no threshold"] = rates(right, np.zeros(1))
    scores = np.concatenate([p["val"].max(1), p["oos_val"].max(1)])
    in_scope = np.concatenate([np.ones(len(p["val"])), np.zeros(len(p["oos_val"]))])
    for kept in KEPT:
        cut = choose_thresholds(scores, in_scope, target_recall=kept)
        value = float(cut.values)
        found = rates(right & (p["test"].max(1) >= value), p["oos_test"].max(1) < value)
        result[f"threshold that keeps {kept:g}"] = {"threshold": value, "interval": cut.interval.tolist(), **found}
    for name, row in result.items():
        print(name, row)
    write_json_atomic(args.out, result)


if __name__ == "__main__":
    main()
