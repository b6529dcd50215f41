"""Prompts and photos in, labels in labels.db out."""
