"""Mutation testing of the losses: change one sign or constant at a time, and see that a test fails.

    python scripts/mutate_losses.py             # all mutants
    python scripts/mutate_losses.py ghm region  # those whose file name contains a word

A copy of the package is changed, never the checkout. Exit status 1 if a mutant survives or no longer applies.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

# file, original text, mutated text, tests that must notice (pytest arguments)
CONFORMANCE = "tests/conformance/test_conformance.py"
STATEFUL = "tests/unit/losses/test_stateful.py"
COMPOSITIONS = "tests/unit/losses/test_compositions.py"
WEIGHTS = "tests/unit/losses/test_weights.py"
ARGUMENTS = "tests/unit/losses/test_arguments.py"
CHUNKED = "tests/unit/kernels/test_chunked.py"
REGION = "tests/unit/losses/test_region.py"
FOCAL = "tests/unit/losses/test_focal.py"
BASELINE = "not compile and not gradcheck and not vmap and not any_shape"


def mpmath(*names: str) -> list[str]:
    return [CONFORMANCE, "-k", "mpmath and (" + " or ".join(names) + ")"]


MUTANTS: list[tuple[str, str, str, list[str]]] = [
    ("_numerics.py", "return factor * nll,", "return factor * -nll,", mpmath("focal")),
    ("_numerics.py", "nll, value=gamma)", "nll, value=-gamma)", [FOCAL, "-k", "papers"]),
    (
        "_numerics.py",
        "return safe_pow(torch.sigmoid(-u), gamma)",
        "return safe_pow(torch.sigmoid(u), gamma)",
        mpmath("poly1"),
    ),
    ("_numerics.py", "return -F.logsigmoid(-x)", "return -F.logsigmoid(x)", mpmath("bce")),
    ("_numerics.py", "finite(of_label - others)", "finite(of_label + others)", mpmath("ce")),
    (
        "_numerics.py",
        "base.clamp(min=torch.finfo(base.dtype).tiny)",
        "base",
        [CONFORMANCE, "-k", "extreme and reduced"],
    ),
    ("_reduce.py", "count.clamp(min=1)", "count.clamp(min=2)", [FOCAL, "-k", "one_row"]),
    ("_reduce.py", "w in (1, s)", "s in (1, s)", [CONFORMANCE, "-k", "enlarges and bce"]),
    ("weights.py", "torch.where(ignored, 0.0, chosen)", "chosen", [WEIGHTS]),
    ("losses/_statistics.py", "total[-1] == 0", "total[-1] >= 0", [STATEFUL, "-k", "skips or nan"]),
    ("losses/_base.py", "computed_in(new) != new.dtype", "False", [STATEFUL, "-k", "half"]),
    ("losses/_region_parts.py", "of_pixels(values * given.weight)", "of_pixels(values)", [REGION]),
    ("_reduce.py", "nonzero = weight != 0", "nonzero = weight > 0.5", [CONFORMANCE, "-k", "multiplies and bce"]),
    ("kernels/call.py", "is_positive = valid & (labels != -1)", "is_positive = valid", [FOCAL, "-k", "indices"]),
    (
        "kernels/call.py",
        "self.label_smoothing / 2 if",
        "self.label_smoothing if",
        [FOCAL, "-k", "smoothing"],
    ),
    (
        "losses/_softmax.py",
        "q * (1 - label_smoothing) + label_smoothing / classes",
        "q * (1 - label_smoothing)",
        [FOCAL, "-k", "agree_with_torch"],
    ),
    ("losses/_focal.py", "math.log((1 - prior_prob) / prior_prob)", "math.log(1 / prior_prob)", [FOCAL, "-k", "prior"]),
    (
        "losses/_focal_terms.py",
        "base = t * one_minus_p + (1 - t) * p",
        "base = t * one_minus_p + t * p",
        [FOCAL, "-k", "soft"],
    ),
    ("losses/_focal_terms.py", "pos_weight * factor * focal", "pos_weight * focal", [ARGUMENTS, "-k", "pos_weight"]),
    ("losses/_focal_terms.py", "pos_weight * factor, neg", "pos_weight, neg", [ARGUMENTS, "-k", "pos_weight"]),
    ("kernels/chunked.py", "alpha=focal.gamma_neg", "alpha=focal.gamma", [CHUNKED, "-k", "far_above"]),
    ("kernels/chunked.py", ".pow_(focal.gamma_neg)", ".pow_(focal.gamma)", [CHUNKED, "-k", "far_above"]),
    ("kernels/chunked.py", "ignored = (first[~valid]", "ignored = (first[:0]", [CHUNKED, "-k", "far_above"]),
    ("losses/_focal_terms.py", "return 1 - alpha\n", "return alpha\n", [FOCAL, "-k", "complement"]),
    ("losses/_focal_variants.py", "finite(u) + beta)) / gamma", "finite(u) - beta)) / gamma", mpmath("star")),
    ("losses/_focal_variants.py", "(one_minus_p / (1 - threshold))", "(one_minus_p / threshold)", mpmath("reduced")),
    ("losses/_asymmetric.py", "(torch.sigmoid(x) - margin)", "(torch.sigmoid(x) + margin)", mpmath("asl")),
    ("losses/_asymmetric.py", "t * (1 - label_smoothing + rest)", "t * (1 - label_smoothing)", mpmath("asl_softmax")),
    ("losses/_poly.py", "modulator(u, gamma + 1)", "modulator(u, gamma)", mpmath("poly1_focal")),
    ("losses/_poly.py", "softplus(-u) + epsilon", "softplus(-u) - epsilon", mpmath("poly1_ce")),
    ("losses/_quality.py", "share = y - left", "share = 1 - (y - left)", mpmath("dfl")),
    ("losses/_quality.py", "(1 - y) ** beta", "(1 - y) ** alpha", mpmath("gaussian")),
    ("losses/_quality.py", "q * bce if iou_weighted", "bce if iou_weighted", mpmath("varifocal")),
    ("losses/_ghm.py", "length + self.mu)", "length - self.mu)", mpmath("ghm_r")),
    ("losses/_ghm.py", "batch * (1 - self.momentum)", "batch", [STATEFUL, "-k", "ghm"]),
    ("losses/_ghm.py", "density.sum() / (density", "batch.sum() / (density", [STATEFUL, "-k", "ghm"]),
    ("losses/_prior.py", "shift=counts.log()", "shift=-counts.log()", mpmath("balanced")),
    ("losses/_prior.py", "(counts / counts.max()) ** gamma", "(counts.max() / counts) ** gamma", mpmath("vs")),
    ("losses/_prior.py", "** -0.25", "** -0.5", mpmath("ldam")),
    (
        "losses/_equalization.py",
        "torch.where(shielded, 0.0, softplus(x))",
        "torch.where(rare, 0.0, softplus(x))",
        mpmath("eql"),
    ),
    ("losses/_equalization.py", "dropped.scatter(dim, index.unsqueeze(dim), False)", "dropped", mpmath("seql")),
    (
        "losses/_equalization_stateful.py",
        "1 + self.alpha * (1 - f)",
        "1 - self.alpha * (1 - f)",
        [STATEFUL, "-k", "eqlv2"],
    ),
    ("losses/_equalization_stateful.py", "self.scale * (1 - ratio)", "self.scale * ratio", mpmath("efl")),
    ("losses/_equalization_stateful.py", ".clamp(max=0)", ".clamp(min=0)", [STATEFUL, "-k", "seesaw"]),
    (
        "losses/_region_parts.py",
        "fp_weight * total(p * (1 - given.t)) + fn_weight * false_negatives",
        "fn_weight * total(p * (1 - given.t)) + fp_weight * false_negatives",
        mpmath("tversky"),
    ),
    ("losses/_region.py", "0.5, 0.5, smooth / 2", "0.5, 0.5, smooth", mpmath("dice")),
    (
        "losses/_unified.py",
        "delta * false_negatives + (1 - delta) * false_positives",
        "delta * false_positives + (1 - delta) * false_negatives",
        mpmath("unified"),
    ),
    ("losses/_unified.py", "1 - gamma)\n    overlap", "gamma)\n    overlap", mpmath("unified")),
    ("losses/_region.py", "least / size", "size / least", mpmath("generalized")),
    ("losses/_lovasz.py", "torch.where(t > 0, weight, step_outside)", "weight", mpmath("lovasz")),
    ("losses/_lovasz.py", "total - in_mask", "total", mpmath("lovasz")),
    ("losses/_distance.py", "1 - inside", "-inside", mpmath("boundary")),
    ("losses/_distance.py", "error.square()", "error.abs()", mpmath("hausdorff")),
    ("losses/_centerline.py", "predicted * (1 - t)", "predicted * t", mpmath("cldice")),
    ("losses/_boxes.py", "d - beta / 2", "d + beta / 2", mpmath("smooth_l1")),
    (
        "losses/_overlap.py",
        "divide(whole - overlap(p, t)[1], whole)",
        "divide(overlap(p, t)[1], whole)",
        mpmath("giou"),
    ),
    ("losses/_overlap.py", "4 / math.pi**2", "2 / math.pi**2", mpmath("ciou")),
    ("losses/_box_variants.py", "(high - low)", "high", mpmath("focaler")),
    ("losses/_box_variants.py", "* (ratio / 2)", "* ratio", mpmath("inner")),
    ("losses/_box_variants.py", ".sum(-1) / 4", ".sum(-1)", mpmath("nwd")),
    ("losses/_box_running.py", "** (beta - self.delta)", "**beta", mpmath("wiou_v3")),
    ("losses/_set_prediction.py", "goal = q**gamma", "goal = q", mpmath("mal")),
    ("losses/_set_prediction.py", "q ** (1 - alpha)", "q**alpha", mpmath("ia_bce")),
    (
        "losses/_calibration_aware.py",
        "< threshold, low, high",
        "> threshold, low, high",
        mpmath("flsd"),
    ),
    ("losses/_calibration_aware.py", "torch.sigmoid(-u) + below", "torch.sigmoid(-u) - below", mpmath("dual")),
    (
        "losses/_scheduled.py",
        "self.gammas * change, self.gammas / change",
        "self.gammas / change, self.gammas * change",
        [STATEFUL, "-k", "adafocal"],
    ),
    (
        "losses/_scheduled.py",
        "(done - 1) / (self.factor - 1)",
        "(done - 1) / self.factor",
        [STATEFUL, "-k", "cyclical"],
    ),
    (
        "losses/_contrastive.py",
        "negative * (negative + margin)",
        "negative * (negative - margin)",
        mpmath("focal_infonce"),
    ),
    (
        "losses/_contrastive.py",
        "reweighted - tau_plus * count * of_pair",
        "reweighted + tau_plus * count * of_pair",
        mpmath("hcl"),
    ),
    ("losses/_distillation.py", "temperature**2 *", "temperature *", mpmath("kd")),
    ("losses/_distillation.py", "kl + beta * entropy", "kl - beta * entropy", mpmath("focal_kd")),
    ("losses/_mining.py", "rank < quota", "rank <= quota", [COMPOSITIONS, "-k", "ssd"]),
    ("losses/_mining.py", "-math.log(self.threshold)", "math.log(self.threshold)", [COMPOSITIONS, "-k", "ohem"]),
    (
        "losses/_compose.py",
        "self.epoch >= self.start_epoch",
        "self.epoch > self.start_epoch",
        [COMPOSITIONS, "-k", "deferred"],
    ),
    (
        "weights.py",
        "-torch.expm1(n * log_beta.to(n))",
        "-torch.expm1(log_beta.to(n))",
        [COMPOSITIONS, "-k", "effective"],
    ),
]


def survives(copy: Path, name: str, old: str, new: str, tests: list[str]) -> str | None:
    """Why the mutant is not dead, or None."""
    path = copy / "src" / "focalkit" / name
    source = path.read_text()
    if source.count(old) < 1:
        return "the original text is gone"
    path.write_text(source.replace(old, new, 1))
    try:
        done = run(copy, tests)
    finally:
        path.write_text(source)
    if done.returncode == 1:  # tests failed; other codes are errors of the run itself
        return None
    return "survived" if done.returncode == 0 else f"pytest failed to run: {done.stdout[-300:]}{done.stderr[-300:]}"


def run(copy: Path, tests: list[str]) -> subprocess.CompletedProcess[str]:
    # the installed package must give way to the copy
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)


def main(words: list[str]) -> int:
    chosen = [m for m in MUTANTS if not words or any(word in m[0] for word in words)]
    alive = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("src", "tests"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        baseline = run(copy, [FOCAL, STATEFUL, COMPOSITIONS, CONFORMANCE, "-k", BASELINE])
        if baseline.returncode != 0:
            print(f"the unchanged package does not pass:\n{baseline.stdout[-2000:]}")
            return 1
        for name, old, new, tests in chosen:
            why = survives(copy, name, old, new, tests)
            alive += why is not None
            print(f"{'ALIVE ' + why if why else 'killed':8} {name}: {old.strip()!r} -> {new.strip()!r}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} mutants killed")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
