"""What a whole set of labels shows that no single image does: errors, repeats, gaps, balance."""
