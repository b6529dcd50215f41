"""Parts of the evaluation: matching, average precision, intervals, curves, thresholds, slices, latency."""
