"""Assigners that look at what the model predicts: task-aligned, SimOTA, dynamic soft labels."""
