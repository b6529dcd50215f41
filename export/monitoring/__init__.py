"""Rooms of the monitor: logs, their figures, the reference, windows, drift, two students, frames sent back."""
