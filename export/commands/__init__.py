"""The verbs of export, one file each."""
