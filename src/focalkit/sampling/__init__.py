"""Which items a training sees, and how often: for data loaders, for tables, for ensembles of under-sampled models."""

from ._ensembles import under_bagging as under_bagging
from ._indices import SAMPLERS as SAMPLERS
from ._indices import draw_weights as draw_weights
from ._indices import epoch_indices as epoch_indices
from ._indices import item_repeat_factors as item_repeat_factors
from ._indices import read_sampler as read_sampler
from ._indices import taught_prior as taught_prior
from ._samplers import EpochSampler as EpochSampler
from ._tables import resample_table as resample_table

__all__ = [
    "SAMPLERS",
    "EpochSampler",
    "draw_weights",
    "epoch_indices",
    "item_repeat_factors",
    "read_sampler",
    "resample_table",
    "taught_prior",
    "under_bagging",
]
