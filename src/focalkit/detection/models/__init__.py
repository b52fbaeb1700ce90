"""Backbones, necks, heads and the detectors made of them."""
