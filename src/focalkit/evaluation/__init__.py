"""From detectors to numbers and pictures, for a run, a weights file, an exported file and a checkpoint alike."""

from focalkit.evaluation.decisions import decisions as decisions
from focalkit.evaluation.evaluate import Evaluation as Evaluation
from focalkit.evaluation.evaluate import evaluate as evaluate
from focalkit.evaluation.gallery import write_gallery as write_gallery
from focalkit.evaluation.matched import MatchedSplit as MatchedSplit
from focalkit.evaluation.matched import match_split as match_split
from focalkit.evaluation.predict import align_categories as align_categories
from focalkit.evaluation.predict import coco_results as coco_results
from focalkit.evaluation.predict import predict_split as predict_split
from focalkit.evaluation.run import evaluate_detector as evaluate_detector
from focalkit.evaluation.run import evaluate_file as evaluate_file
from focalkit.evaluation.run import evaluate_run as evaluate_run
from focalkit.evaluation.trained import images_that_trained as images_that_trained

__all__ = [
    "Evaluation",
    "MatchedSplit",
    "align_categories",
    "coco_results",
    "decisions",
    "evaluate",
    "evaluate_detector",
    "evaluate_file",
    "evaluate_run",
    "images_that_trained",
    "match_split",
    "predict_split",
    "write_gallery",
]
