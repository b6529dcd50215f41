"""From corrected labels to a small student: curation so far."""
