"""Every check there is: its number, what it is called, why it matters, what to do. Numbers are never used again.

1xx: any labelled data; 2xx: detection; 3xx: results of a comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["note", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """What a number stands for.

    Attributes:
        title: In a few words.
        level: "error": results would be wrong; "warning": they may be; "note": worth knowing.
        why: Why it matters.
        action: What to do about it.
    """

    title: str
    level: Level
    why: str
    action: str


CATALOG: dict[str, Check] = {
    "FK101": Check(
        "The classes are imbalanced",
        "note",
        "Accuracy is high for a model that never predicts the rare class, and a threshold of 0.5 is rarely the best.",
        "Judge by average precision or balanced accuracy, tune the threshold on validation data, and let"
        " `focalkit compare` say which treatment of the imbalance helps.",
    ),
    "FK102": Check(
        "A class has very few examples",
        "warning",
        "Metrics of a class with a handful of test examples move in large steps, and no method can learn from one.",
        "Collect more of it, merge it with a related class, or leave it out of the average.",
    ),
    "FK103": Check(
        "There is only one class",
        "error",
        "Nothing can be learnt or measured.",
        "Check the target column or the folder names.",
    ),
    "FK111": Check(
        "Items occur more than once",
        "warning",
        "Copies that fall into both training and test data make every method look better than it is.",
        "Keep copies in one split (`focalkit compare` does), or remove them; name the group column where items belong"
        " together.",
    ),
    "FK112": Check(
        "Equal items have different labels",
        "warning",
        "No model can get both right; the best possible score is below 1.",
        "Look at them: a wrong label, or a feature that is missing.",
    ),
    "FK113": Check(
        "Test items occur in the training data",
        "error",
        "What is measured on them is memory, not generalisation.",
        "Split again so that copies stay together; `--strict` refuses such splits.",
    ),
    "FK114": Check(
        "Values are missing",
        "note",
        "That a value is missing may itself carry the label, and may do so in training data only.",
        "Find out why they are missing; the models of `focalkit compare` get a column that says where.",
    ),
    "FK115": Check(
        "A column is constant",
        "note",
        "It says nothing.",
        "Leave it out.",
    ),
    "FK116": Check(
        "A column gives the target away",
        "warning",
        "A single column that separates the classes almost perfectly is usually the target in another form, or was"
        " written down after it was known.",
        "Check whether the value is there when a prediction is needed; if not, leave the column out.",
    ),
    "FK117": Check(
        "A column looks like an identifier",
        "warning",
        "A number that is different in every row can be learnt by heart and says nothing about new rows; sorted files"
        " leak the target through it.",
        "Leave it out, or name it as the group column.",
    ),
    "FK118": Check(
        "Labels look wrong",
        "warning",
        "A model that did not see these items is sure of another class; focal losses weigh such items most.",
        "Look at them, the surest first; a loss that trusts hard examples less (label smoothing, GHM) may help.",
    ),
    "FK201": Check(
        "Nearly all anchors are background",
        "note",
        "With thousands of background anchors for every positive one, plain cross-entropy spends its gradient on easy"
        " background; this is what focal loss was made for.",
        "Use focal loss or a relative, and start the class output at the prior (`prior_prob`).",
    ),
    "FK202": Check(
        "Some boxes are reached by no anchor",
        "warning",
        "A box whose best anchor overlaps it by less than the threshold is trained on badly or not at all.",
        "Use the suggested anchor sizes, larger images, or a detector of points.",
    ),
    "FK203": Check(
        "Many images hold no object",
        "note",
        "They teach what background is, but an epoch of mostly empty images teaches little about objects.",
        "Keep them; repeat-factor or class-balanced sampling shows the others more often.",
    ),
    "FK204": Check(
        "Images that trained a detector are to calibrate it",
        "error",
        "It is too sure on them; a map fitted to them learns that, and thresholds chosen on them are too low.",
        "Nothing: `focalkit calibrate` leaves them out. Where none remain, give images that did not train it.",
    ),
    "FK301": Check(
        "The best trial lies at the edge of its range",
        "warning",
        "The method may be better still beyond the edge, so it has been treated unfairly.",
        "Widen its range and tune again.",
    ),
    "FK302": Check(
        "The method is worse than the plain baseline",
        "note",
        "A treatment that loses to doing nothing should not be used on these data, or has not been tuned.",
        "Leave it out, or tune it (`--tune`).",
    ),
    "FK303": Check(
        "Calibrated on the rows that trained",
        "error",
        "A map fitted on training data learns the model's overconfidence away where there is none.",
        "Fit it on held-out data.",
    ),
    "FK304": Check(
        "Thresholds could not be tuned",
        "warning",
        "With so few validation items the best threshold there is chance; the methods are compared at .5, where"
        " weighting and sampling look better than they are.",
        "Give more data, or judge by a ranking metric such as average precision.",
    ),
    "FK305": Check(
        "A tuned threshold did not carry over",
        "note",
        "The threshold that is best on validation data holds few items of the rare class on one side, and partly fits"
        " them.",
        "Use more validation data, or an operating point with an interval (`focalkit.calibration.choose_thresholds`).",
    ),
    "FK306": Check(
        "The winner's probabilities are no shares",
        "note",
        "Weights, sampling and focal losses shift probabilities. Ranking and tuned decisions do not mind; whoever reads"
        " a probability or weighs costs does.",
        "Calibrate on held-out data (`focalkit.calibration`), or take a method that corrects its prior.",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was seen.

    Attributes:
        code: A key of `CATALOG`.
        seen: What was seen, with numbers, as a sentence.
        values: The numbers, for programs.
    """

    code: str
    seen: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def check(self) -> Check:
        """What the number stands for."""
        return CATALOG[self.code]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and reports; "docs" is the place in the documentation."""
        check = self.check
        return {
            "code": self.code,
            "level": check.level,
            "title": check.title,
            "seen": self.seen,
            "why": check.why,
            "action": check.action,
            "docs": f"findings.html#{self.code.lower()}",
            "values": dict(self.values),
        }
