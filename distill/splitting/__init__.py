"""Parts of the leak-free split."""
