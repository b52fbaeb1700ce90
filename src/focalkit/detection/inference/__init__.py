"""From outputs to detections: post-processing, `Detector`, tiles, test-time augmentation."""
