"""Ensembles whose members see balanced parts of the data, as imbalanced-learn has them."""

from typing import Any

from focalkit._config_io import nearest
from focalkit.errors import ConfigError

ENSEMBLES = ("balanced_forest", "easy_ensemble", "rus_boost")


def under_bagging(name: str, *, seed: int = 0, threads: int = 1, **settings: Any) -> Any:
    """An unfitted scikit-learn classifier.

    Args:
        name: "balanced_forest" (Chen, 2004), "easy_ensemble" (Liu, 2009) or "rus_boost" (Seiffert, 2010).
        seed: Fixes the fit.
        threads: At most so many.
        settings: Arguments of the class, such as n_estimators.

    Raises:
        ConfigError: Another name; imbalanced-learn is not installed.
    """
    if name not in ENSEMBLES:
        raise ConfigError(f"there is no ensemble {name!r}{nearest(name, list(ENSEMBLES))}")
    try:
        from imblearn.ensemble import BalancedRandomForestClassifier, EasyEnsembleClassifier, RUSBoostClassifier
    except ImportError as error:
        raise ConfigError(f"{name} needs the package imbalanced-learn: pip install 'focalkit[compare]'") from error
    if name == "balanced_forest":
        fixed = {"n_estimators": 200, "replacement": True, "sampling_strategy": "all", "bootstrap": False}
        return BalancedRandomForestClassifier(random_state=seed, n_jobs=threads, **{**fixed, **settings})
    if name == "easy_ensemble":
        return EasyEnsembleClassifier(random_state=seed, n_jobs=threads, **{"n_estimators": 10, **settings})
    return RUSBoostClassifier(random_state=seed, **{"n_estimators": 100, **settings})
