"""What `import mmdist` gives. `mmdist/__init__.py` names it, lazily."""
