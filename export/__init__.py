"""From a student to an edge device: nothing is built here yet."""
