"""The configuration of a run: its fields, what they may be, and as text."""
