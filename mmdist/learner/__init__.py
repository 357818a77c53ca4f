"""Moves a 3D representation along the priors' summed pull."""
