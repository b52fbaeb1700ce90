"""Boxes and priors: grids of anchors and points, box coders, quality of a predicted box."""
