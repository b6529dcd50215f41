"""Drawn warehouse scenes with exact truth, and the bundled teacher."""
