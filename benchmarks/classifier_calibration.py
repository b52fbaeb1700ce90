"""Does the sign of Mukhoti et al. (2020, table 1) hold: are classifiers trained with focal losses better calibrated?

Cross-entropy, label smoothing, focal loss (gamma 3; also mapped back to the posterior), FLSD-53, dual focal and
AdaFocal, each before and after temperature scaling on validation data, on 150 intents of CLINC150 (a perceptron on
TF-IDF features) and on 500 images of each class of CIFAR-10 at 16 pixels (a small residual network). Trained until
the training data are fitted, which is where networks become overconfident. Reported: ECE (15 bins of equal width),
negative log-likelihood and accuracy on test data, and the difference in ECE to cross-entropy at the same stage, with
an interval over seeds and test items.

    python benchmarks/classifier_calibration.py --clinc FOLDER --cifar FOLDER

A finished training is kept in --cache and not repeated.
"""

import argparse
import gzip
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from focalkit._files import write_json_atomic
from focalkit.calibration import TemperatureScaling, focal_to_posterior
from focalkit.compare.statistics import compare_methods, item_bootstrap
from focalkit.losses import build
from focalkit.metrics import expected_calibration_error, negative_log_likelihood

HERE = Path(__file__).parent
GAMMA = 3.0
LOSSES = {
    "cross-entropy": "ce",
    "label smoothing .05": "ce(label_smoothing=0.05)",
    "focal, gamma 3": f"softmax_focal(gamma={GAMMA})",
    "FLSD-53": "flsd",
    "dual focal, gamma 5": "dual_focal(gamma=5.0)",
    "AdaFocal": "ada_focal",
}
MAPPED = "focal, gamma 3, mapped back"
DRAWS = 100
CLINC_EPOCHS = CIFAR_EPOCHS = 25
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Problem:
    """Data in three parts, a network for them and how long it is trained."""

    data: dict[str, tuple[Tensor, Tensor]]
    network: Callable[[], nn.Module]
    epochs: int
    rate: float
    batch: int = 128
    flips: bool = False


def clinc(folder: Path) -> Problem:
    """150 intents, 100 training queries of each; 300 latent dimensions of TF-IDF of words and pairs."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    raw = json.loads(gzip.decompress((folder / "data_full.json.gz").read_bytes()))
    names = {intent: i for i, intent in enumerate(sorted({intent for _, intent in raw["train"]}))}
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2).fit([text for text, _ in raw["train"]])
    latent = TruncatedSVD(300, random_state=0).fit(words.transform([text for text, _ in raw["train"]]))
    data = {}
    for part in ("train", "val", "test"):
        x = latent.transform(words.transform([text for text, _ in raw[part]]))
        labels = [names[intent] for _, intent in raw[part]]
        data[part] = (torch.tensor(x * 17.0, dtype=torch.float32), torch.tensor(labels))  # 17: about unit variance
    return Problem(data, clinc_network, CLINC_EPOCHS, 1e-3)


def clinc_network() -> nn.Module:
    return nn.Sequential(nn.Linear(300, 512), nn.ReLU(), nn.Linear(512, 150))


def cifar(folder: Path) -> Problem:
    """500 training images of each class at 16 pixels; half of the test images for validation."""
    from focalkit.tasks import Source
    from focalkit.tasks.image import Images

    splits = Images(size=16, val_from="test", imbalance=10).read(Source(folder), 0)
    labels = splits.train.labels
    balanced = np.sort(np.concatenate([np.flatnonzero(labels == c)[:500] for c in range(10)]))
    parts = {"train": splits.train.take(balanced), "val": splits.val, "test": splits.test}
    data = {
        part: (torch.from_numpy(of.images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(of.labels))
        for part, of in parts.items()
    }
    return Problem(data, cifar_network, CIFAR_EPOCHS, 1e-3, flips=True)


def cifar_network() -> nn.Module:
    from focalkit.tasks.image._network import build_network

    return build_network("small", 10, 16)


def train(problem: Problem, spec: str, seed: int) -> Arrays:
    """Logits of the validation and the test part after training with a loss."""
    torch.manual_seed(seed)
    network, loss = problem.network(), build(spec)
    x, y = problem.data["train"]
    steps = problem.epochs * (len(y) // problem.batch)
    optimizer = torch.optim.Adam(network.parameters(), lr=problem.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(problem.epochs):
        network.train()
        for rows in _batches(len(y), problem.batch):
            images = x[rows]
            if problem.flips:
                mirrored = torch.rand(len(rows)) < 0.5
                images[mirrored] = images[mirrored].flip(3)
            optimizer.zero_grad()
            loss(network(images), y[rows]).backward()
            optimizer.step()
            schedule.step()
        if hasattr(loss, "update"):  # AdaFocal follows the calibration on validation data
            loss.update(_logits(network, problem.data["val"][0]), problem.data["val"][1])
    return {part: _logits(network, problem.data[part][0]).numpy() for part in ("val", "test")}


def _batches(n: int, size: int) -> Iterator[Tensor]:
    order = torch.randperm(n)
    for start in range(0, n - size + 1, size):
        yield order[start : start + size]


@torch.no_grad()
def _logits(network: nn.Module, x: Tensor) -> Tensor:
    network.eval()
    return torch.cat([network(part) for part in x.split(500)])


def stages(logits: Arrays, val_labels: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
    """Test probabilities before and after temperature scaling, and the temperature."""
    scaling = TemperatureScaling().fit(torch.from_numpy(logits["val"]), torch.from_numpy(val_labels))
    before = torch.from_numpy(logits["test"]).double().softmax(1).numpy()
    return {"before": before, "after": np.asarray(scaling.transform(logits["test"]))}, scaling.temperature


def ece(p: np.ndarray, labels: np.ndarray) -> float:
    return float(expected_calibration_error(p, labels))


def judge(p: dict[str, list[np.ndarray]], labels: np.ndarray) -> dict[str, Any]:
    """The verdict on the ECE of every loss beside cross-entropy: "better" is lower."""
    scores = {name: [-ece(of_seed, labels) for of_seed in seeds] for name, seeds in p.items()}

    def scorer(of_seed: np.ndarray) -> Callable[[np.ndarray], float]:
        def score(counts: np.ndarray) -> float:
            rows = np.repeat(np.arange(len(counts)), counts.astype(int))
            return -ece(of_seed[rows], labels[rows])

        return score

    cells = {name: [scorer(of_seed) for of_seed in seeds] for name, seeds in p.items()}
    resampled = item_bootstrap(cells, len(labels), DRAWS)
    return {v.method: v for v in compare_methods(scores, "cross-entropy", resampled)}


def rows_of(name: str, problem: Problem, logits: dict[str, list[Arrays]]) -> list[dict[str, Any]]:
    """A row for every loss and stage."""
    val, labels = (problem.data[part][1].numpy() for part in ("val", "test"))
    found: dict[str, dict[str, list[np.ndarray]]] = {"before": {}, "after": {}}
    temperatures: dict[str, list[float]] = {}
    for loss, of_seeds in logits.items():
        for of_seed in of_seeds:
            p, temperature = stages(of_seed, val)
            temperatures.setdefault(loss, []).append(temperature)
            for stage, values in p.items():
                found[stage].setdefault(loss, []).append(values)
    focal = found["before"]["focal, gamma 3"]
    found["before"][MAPPED] = [np.asarray(focal_to_posterior(torch.from_numpy(p), GAMMA)) for p in focal]
    rows = []
    for stage, p in found.items():
        verdicts = judge(p, labels)
        for loss, of_seeds in p.items():
            v = verdicts[loss]
            nll = [float(negative_log_likelihood(x, labels)) for x in of_seeds]
            rows.append(
                {
                    "data": name,
                    "loss": loss,
                    "temperature": stage,
                    "T": float(np.mean(temperatures[loss])) if loss in temperatures else None,
                    "ece": float(np.mean([ece(x, labels) for x in of_seeds])),
                    "nll": float(np.mean(nll)),
                    "accuracy": float(np.mean([(x.argmax(1) == labels).mean() for x in of_seeds])),
                    "difference": -v.difference,
                    "low": -v.high,
                    "high": -v.low,
                    "verdict": v.outcome,
                }
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clinc", type=Path, help="folder with data_full.json.gz")
    parser.add_argument("--cifar", type=Path, help="folder with train and test npz files")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path("runs/classifier_calibration"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "classifier_calibration.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.cache.mkdir(parents=True, exist_ok=True)
    rows, seconds = [], 0.0
    for name, read, folder in (("CLINC150", clinc, args.clinc), ("CIFAR-10", cifar, args.cifar)):
        if folder is None:
            continue
        problem = read(folder)
        logits: dict[str, list[Arrays]] = {}
        for seed in range(args.seeds):
            for loss, spec in LOSSES.items():
                file = args.cache / f"{name}-{spec}-{seed}.npz"
                if not file.is_file():
                    began = time.process_time()
                    found = train(problem, spec, seed)
                    np.savez(file, seconds=time.process_time() - began, **found)
                with np.load(file) as archive:
                    logits.setdefault(loss, []).append({part: archive[part] for part in ("val", "test")})
                    seconds += float(archive["seconds"])
        rows += rows_of(name, problem, logits)
    asked = [f"--{n} {n.upper()}_FOLDER" for n, folder in (("clinc", args.clinc), ("cifar", args.cifar)) if folder]
    result = {
        "command": " ".join(["python benchmarks/classifier_calibration.py", *asked]),
        "machine": f"one thread of an {platform.machine()} CPU, torch {torch.__version__}",
        "minutes": seconds / 60,
        "seeds": args.seeds,
        "rows": rows,
    }
    write_json_atomic(args.out, result)


if __name__ == "__main__":
    main()
