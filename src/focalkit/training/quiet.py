"""Which of Lightning's messages reach the user: those about their training, not those about Lightning."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# how each useless warning begins, and why it is useless here
_USELESS = (
    r".*does not have many workers",  # `workers` is a setting of ours, measured
    r".*Consider setting `persistent_workers=True`",
    r".*You're resuming from a checkpoint that ended before the epoch ended",  # EpochOrder resumes there
    r"The number of training batches .* is smaller than the logging interval",  # RunLog has its own
    r"Found \d+ module\(s\) in eval mode",  # frozen stages, on purpose
    r".*GPU available but not used",  # --accelerator cpu was asked for
    r"Trying to infer the `batch_size`",
    r"It is recommended to use `self\.log\('AP', \.\.\., sync_dist=True\)`",  # every process has the same number
    r".*litlogger",
    r".*litmodels",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning calling torch
    r"Checkpoint directory .* exists and is not empty",
    r".*You have overridden .* in `WeightAveraging`",
    r"You're using the WeightAveraging callback with a model that overrides",  # to divide weights where asked to
    r".*`lr_scheduler\.step\(\)` before `optimizer\.step\(\)`",  # GradScaler skipping its first step
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's tips, device tables and known harmless warnings; everything else passes."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero", "lightning")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _USELESS:
            warnings.filterwarnings("ignore", message=message)
        try:
            for logger in loggers:
                logger.setLevel(logging.WARNING)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
