"""mmdist: many diffusion priors pulling on one 3D avatar at once.

Read `mmdist/loop.py` first: the one loop where renders, scores and updates
meet. `method.md`, cited in docstrings by row (O6, N4, ...), is the list of the
equations and numbers of MagicMirror that this package implements.
"""

__version__ = '0.1.0'
