"""Moves a 3D representation by the priors' summed cotangents."""
