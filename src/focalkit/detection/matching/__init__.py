"""Which ground-truth box each prior is trained on: assigners, samplers, heat maps."""
