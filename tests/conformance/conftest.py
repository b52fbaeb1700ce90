"""Small tensors gain nothing from threads, and lose much when the machine is busy."""

import torch

torch.set_num_threads(1)
