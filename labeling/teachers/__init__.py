"""Detectors, segmenters and the filters between them."""
