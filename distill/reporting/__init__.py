"""The report of a student: words, tables, figures, pictures."""
