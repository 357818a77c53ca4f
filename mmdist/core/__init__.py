"""What every room shares.

Messages, arrays, seeds, options, errors, checks of names and shapes, and atomic
files.
"""
