"""Adapters that turn images and boxes into masks."""
