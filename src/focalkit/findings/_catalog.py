"""Every check there is: its number, what it is called, why it matters, what to do. Numbers are never used again.

1xx: any labelled data; 2xx: detection; 3xx: results of a comparison. FK303 was a check that nothing made.
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
        how: What is looked at, and from where on something is said.
        action: What to do about it.
    """

    title: str
    level: Level
    why: str
    how: str
    action: str


CATALOG: dict[str, Check] = {
    "FK101": Check(
        "The classes are imbalanced",
        "note",
        "Accuracy is high for a model that never predicts the rare class, and a threshold of 0.5 is rarely the best.",
        "The largest class has at least 5 times the items of the smallest one that occurs. Effective numbers are"
        " those of Cui et al. (2019), eq. 2.",
        "Judge by average precision or balanced accuracy, tune the threshold on validation data, and let"
        " `focalkit compare` say which treatment of the imbalance helps.",
    ),
    "FK102": Check(
        "A class has very few examples",
        "warning",
        "Metrics of a class with a handful of test examples move in large steps, and no method can learn from one.",
        "A class that occurs has fewer than 20 items; for a detector, fewer than 20 boxes.",
        "Collect more of it, merge it with a related class, or leave it out of the average.",
    ),
    "FK103": Check(
        "There is only one class",
        "error",
        "Nothing can be learnt or measured.",
        "Fewer than two classes have an item.",
        "Check the target column or the folder names.",
    ),
    "FK111": Check(
        "Items occur more than once",
        "warning",
        "Copies that fall into both training and test data make every method look better than it is.",
        "Items are compared by a hash: of all columns of a row but the target, of the pixels of an image at the"
        " size that the network sees, of the file where images have boxes. Near copies are not found.",
        "Keep copies in one split (`focalkit compare` does), or remove them; name the group column where items belong"
        " together.",
    ),
    "FK112": Check(
        "Equal items have different labels",
        "warning",
        "No model can get both right; the best possible score is below 1.",
        "The same hashes, where the labels differ.",
        "Look at them: a wrong label, or a feature that is missing.",
    ),
    "FK113": Check(
        "Test items occur in the training data",
        "error",
        "What is measured on them is memory, not generalisation.",
        "Where the data have parts of their own: items of val or test with the hash of an item of train.",
        "Split again so that copies stay together; `--strict` refuses such splits.",
    ),
    "FK114": Check(
        "Values are missing",
        "note",
        "That a value is missing may itself carry the label, and may do so in training data only.",
        "Empty fields, NaN, and the texts NA, N/A, nan, null and ? count as missing.",
        "Find out why they are missing; the models of `focalkit compare` get a column that says where.",
    ),
    "FK115": Check(
        "A column is constant",
        "note",
        "It says nothing.",
        "All values that are there are equal, or none is there.",
        "Leave it out.",
    ),
    "FK116": Check(
        "A column gives the target away",
        "warning",
        "A single column that separates the classes almost perfectly is usually the target in another form, or was"
        " written down after it was known.",
        "The column alone ranks the rarest class before the others with an AUROC of at least .999, on at most"
        " 50,000 rows. A text counts as the share of the class among the other rows with that text.",
        "Check whether the value is there when a prediction is needed; if not, leave the column out (`--leave-out`).",
    ),
    "FK117": Check(
        "A column looks like an identifier",
        "warning",
        "A number that is different in every row can be learnt by heart and says nothing about new rows; sorted files"
        " leak the target through it.",
        "Whole numbers or texts, none missing, of which each of at least 50 rows has another one.",
        "Leave it out (`--leave-out`), or name it as the group column (`--group`).",
    ),
    "FK118": Check(
        "Labels look wrong",
        "warning",
        "A model that did not see these items is sure of another class; focal losses weigh such items most.",
        "Confident learning (Northcutt et al., 2021) with boosted trees in five folds, on at most 20,000 items,"
        " images at 8 by 8 pixels: another class passes its own mean probability and leads by at least .5, and the"
        " class of the label is one that the trees know. Nothing is said where they are wrong about more than a"
        " fifth of all items.",
        "Look at them, the surest first; a loss that trusts hard examples less (label smoothing, GHM) may help.",
    ),
    "FK201": Check(
        "Nearly all anchors are background",
        "note",
        "With thousands of background anchors for every positive one, plain cross-entropy spends its gradient on easy"
        " background; this is what focal loss was made for.",
        "At least 100 anchors are negative for each positive one, matched as in training, at the size of training.",
        "Use focal loss or a relative, and start the class output at the prior (`prior_prob`).",
    ),
    "FK202": Check(
        "Some boxes are reached by no anchor",
        "warning",
        "A box whose best anchor overlaps it by less than the threshold is trained on badly or not at all.",
        "The best anchor of more than 5 % of the boxes overlaps them by less than .5.",
        "Use the suggested anchor sizes, larger images, or a detector of points.",
    ),
    "FK203": Check(
        "Many images hold no object",
        "note",
        "They teach what background is, but an epoch of mostly empty images teaches little about objects.",
        "More than half of the images have no box.",
        "Keep them; repeat-factor or class-balanced sampling shows the others more often.",
    ),
    "FK204": Check(
        "Images that trained a detector are to calibrate it",
        "error",
        "It is too sure on them; a map fitted to them learns that, and thresholds chosen on them are too low.",
        "A run knows its training images; those that calibrate it are compared with them by path and content,"
        " results of a run by name and size.",
        "Nothing: `focalkit calibrate` leaves them out. Where none remain, give images that did not train it.",
    ),
    "FK301": Check(
        "The best trial lies at the edge of its range",
        "warning",
        "The method may be better still beyond the edge, so it has been treated unfairly.",
        "The best value lies in the outer 2 % of its range, on the scale of the range. Seeds that share their"
        " split share one search.",
        "Widen its range and tune again.",
    ),
    "FK302": Check(
        "The method is worse than the plain baseline",
        "note",
        "A treatment that loses to doing nothing should not be used on these data, or has not been tuned.",
        "The verdict is `worse`: below zero after Holm's correction, and by more than what matters.",
        "Leave it out, or tune it (`--tune`).",
    ),
    "FK304": Check(
        "Thresholds could not be tuned",
        "warning",
        "With so few validation items the best threshold there is chance; the methods are compared at .5, where"
        " weighting and sampling look better than they are.",
        "The validation part has fewer than 50 items.",
        "Give more data, or judge by a ranking metric such as average precision.",
    ),
    "FK305": Check(
        "A tuned threshold did not carry over",
        "note",
        "The threshold that is best on validation data holds few items of the rare class on one side, and partly fits"
        " them.",
        "On test, the mean of the metric of decisions is lower at the tuned thresholds than at the default ones,"
        " by more than .0005.",
        "Use more validation data, or an operating point with an interval (`focalkit.calibration.choose_thresholds`).",
    ),
    "FK306": Check(
        "The winner's probabilities are no shares",
        "note",
        "Weights, sampling and focal losses shift probabilities. Ranking and tuned decisions do not mind; whoever reads"
        " a probability or weighs costs does.",
        "Of two classes, with at least 30 different test items of the rare one: its mean probability is more than"
        " 1.5 times its share, or its share more than 1.5 times that.",
        "Calibrate on held-out data (`focalkit.calibration`), or take a method that corrects its prior.",
    ),
    "FK307": Check(
        "No method has learnt much",
        "warning",
        "Differences between models that know next to nothing are chance, and say nothing about the treatments.",
        "The best mean over the seeds is below .55 in AUROC, or below .05 in the AP50 of a detector.",
        "Train longer (`--steps`), give more data or better features; of a detector, start from pretrained weights"
        " (Comparing, Boxes).",
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
        """Plain values, for JSON and reports; "docs" is its page in the documentation."""
        check = self.check
        return {
            "code": self.code,
            "level": check.level,
            "title": check.title,
            "seen": self.seen,
            "why": check.why,
            "how": check.how,
            "action": check.action,
            "docs": f"findings/{self.code.lower()}.html",
            "values": dict(self.values),
        }
