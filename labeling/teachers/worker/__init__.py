"""A detector whose library needs an environment of its own: the process over there, and this end of its pipes."""
