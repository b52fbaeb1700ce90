"""Fit one model for tables under one method."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from .._losses import MethodLoss, training_prior
from .._task import Budget, Metric, Outputs, Splits
from ._columns import Part
from ._encode import Encoder
from ._fitted import TableFitted, TableModel
from ._network import Factory, TableNetwork
from ._peers import UNDER_BAGGING, fit_peer
from ._train import Rows, batch_size_of, train_network

if TYPE_CHECKING:
    from focalkit.compare.methods import Method


LARGE = 1_000_000
"""Values from which on several threads pay: below they mostly wait for each other, on a busy machine very long."""


def fit(
    method: "Method",
    splits: Splits,
    budget: Budget,
    seed: int,
    metric: Metric,
    factory: Factory = TableNetwork,
) -> TableFitted:
    """The network of `Method.model` "default", else a peer. `metric` of validation rows decides when to stop."""
    train: Part = splits.train
    schema = train.schema
    encoder = Encoder.of(train.rows)
    facts = {"training_prior": training_prior(method, splits.class_counts)}
    parts = {name: part for name, part in (("val", splits.val), ("test", splits.test)) if part is not None}
    if method.model != "default":
        k = len(splits.classes)
        threads = budget.threads if train.rows.numbers.size + train.rows.codes.size > LARGE else 1
        body, about = fit_peer(method, encoder, train.rows, train.labels, k, threads, seed)
        if method.model in UNDER_BAGGING:
            about["training_prior"] = [1 / k] * k
        return TableFitted(TableModel(schema, splits.classes, method.model, encoder, body), parts, facts | about)
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(budget.threads, batch_size_of(len(train.labels)) // 256)))
    try:
        link = MethodLoss(method, splits.class_counts).link
        rows, val = _encoded(encoder, train), _encoded(encoder, splits.val)
        truth, sign = splits.val.labels, 1 if metric.higher_is_better else -1

        def score(logits: np.ndarray) -> float:
            outputs = Outputs(truth, truth, logits, link=link)
            return sign * metric.function(outputs.probabilities, truth)

        levels = encoder.levels.tolist()
        done = train_network(method, rows, val, levels, splits.class_counts, score, budget, seed, factory)
    finally:
        torch.set_num_threads(before)
    about = {"steps": done.steps, "best_step": done.best_step, "val_score": done.score}
    about["parameters"] = sum(p.numel() for p in done.network.parameters())
    model = TableModel(schema, splits.classes, "default", encoder, done.network, link)
    return TableFitted(model, parts, facts | about)


def _encoded(encoder: Encoder, part: Part) -> Rows:
    numbers, codes = encoder.normal(part.rows), encoder.codes(part.rows)
    labels, ids = torch.from_numpy(part.labels), torch.from_numpy(part.ids)
    return Rows(torch.from_numpy(numbers), torch.from_numpy(codes), labels, ids)
