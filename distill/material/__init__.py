"""Parts of the dataset that a student is taught."""
