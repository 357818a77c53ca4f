"""Measurements of mmdist, one command each; all tables are of one run."""
