"""How the bundled teacher is trained."""
