"""Entry points: `python -m launchers.NAME`. Only here are there flags."""
