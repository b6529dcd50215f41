"""Adapters that turn images and words into boxes."""
