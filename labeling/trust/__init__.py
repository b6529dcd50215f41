"""Before anyone trusts a prompt with all photos: what people said on a few, and what follows from it."""
