"""Published times with their sources, counted work of models, devices, and the coefficients fitted on them."""
