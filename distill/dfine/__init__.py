"""The Apache-licensed student: D-FINE of transformers."""
