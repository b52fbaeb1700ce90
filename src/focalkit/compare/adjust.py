"""Post-hoc adjustment of logits: a function of outputs and of what the cell says about its training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from focalkit._config_io import nearest
from focalkit.errors import ConfigError
from focalkit.tasks import Array, Outputs

ADJUSTMENTS = ("focal_posterior", "logit_adjustment", "prior_correction", "tau_norm")
TINY = 1e-300


def adjusted(outputs: Outputs, adjust: str | None, class_counts: Sequence[int], facts: Mapping[str, Any]) -> Outputs:
    """The outputs as the method uses them.

    Args:
        outputs: As the model gives them.
        adjust: "logit_adjustment(tau=1.0)": minus tau log prior (Menon et al., 2021, eq. 9): the class that is most
            probable if all were equally frequent. "prior_correction": minus the log of how much more often than in
            the data the training saw each class, by sampling or weights (Elkan, 2001): probabilities at the true
            frequencies. "tau_norm(tau=1.0)": without biases, the weights of class c divided by the tau-th power of
            their norm (Kang et al., 2020, sec. 4); as a common factor that decides nothing, times that of the mean
            norm, so that the logits keep their size. "focal_posterior(gamma=2.0, alpha=None)": what training with focal
            loss of these parameters did to probabilities is undone (`focal_to_posterior`). None leaves them.
        class_counts: Of the training data.
        facts: Of the fit; "training_prior" is the share of each class as the model was taught it, "classifier" holds
            the norms and biases of a linear one.

    Raises:
        ConfigError: Another adjustment, or one that the model cannot have.
    """
    if adjust is None:
        return outputs
    from focalkit.losses import parse

    name, arguments = parse(adjust)
    prior = np.asarray(class_counts, dtype=np.float64) / max(sum(class_counts), 1)
    if name == "tau_norm":
        return replace(outputs, logits=_tau_normalised(outputs.logits, float(arguments.get("tau", 1.0)), facts))
    if name == "focal_posterior":
        return _posterior(outputs, float(arguments.get("gamma", 2.0)), arguments.get("alpha"))
    if name == "logit_adjustment":
        shift = -float(arguments.get("tau", 1.0)) * np.log(prior.clip(1e-12))
    elif name == "prior_correction":
        shift = np.log(prior.clip(1e-12)) - np.log(np.asarray(facts["training_prior"]).clip(1e-12))
    else:
        raise ConfigError(f"there is no adjustment {name!r}{nearest(name, list(ADJUSTMENTS))}")
    return replace(outputs, logits=(outputs.logits + shift).astype(np.float32))


def without_focal(outputs: Outputs, loss: str, class_weight: str | None) -> Outputs:
    """The outputs of a method with what its focal loss did to probabilities undone; the order of scores stays.

    Raises:
        ConfigError: The loss is another one, or has more than one gamma; classes were weighted.
    """
    from focalkit.losses import focal_arguments

    if class_weight is not None:
        raise ConfigError(
            f"its classes were weighted ({class_weight}); the inverse of focal loss with that is not known"
        )
    gamma, alpha, _ = focal_arguments(loss)
    return _posterior(outputs, gamma, alpha)


def _posterior(outputs: Outputs, gamma: float, alpha: Any) -> Outputs:
    from focalkit.calibration import focal_to_posterior

    z = outputs.logits.astype(np.float64)
    if outputs.link == "softmax":
        if alpha is not None and np.ndim(alpha) == 0:  # of a sigmoid on the difference of two logits
            alpha = [1 - float(alpha), float(alpha)]
        p = focal_to_posterior(outputs.probabilities, gamma, alpha, kind="softmax")
        logits = np.log(np.clip(p, TINY, None))
    else:
        p, q = (focal_to_posterior(np.exp(-np.logaddexp(0, -u)), gamma, kind="sigmoid") for u in (z, -z))
        logits = np.log(np.clip(p, TINY, None)) - np.log(np.clip(q, TINY, None))
        if alpha is not None:
            logits = logits - np.log(alpha) + np.log1p(-np.asarray(alpha))
    return replace(outputs, logits=logits.astype(np.float32))


def _tau_normalised(logits: Array, tau: float, facts: Mapping[str, Any]) -> Array:
    if "classifier" not in facts:
        raise ConfigError("tau_norm needs a network whose last layer is linear, with its norms in the facts of the fit")
    norms, biases = (np.asarray(facts["classifier"][name]) for name in ("norms", "biases"))
    return ((logits - biases) * (norms.mean() / norms.clip(1e-12)) ** tau).astype(np.float32)
