"""The commands: flags, one call of the library, what is printed.

`mmdist NAME` where the package is installed, `python -m launchers.NAME` in a
checkout. In an installed package this folder lies inside of mmdist, so its
modules import each other relatively.
"""
