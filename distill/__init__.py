"""From corrected labels to a small student: nothing is built here yet."""
