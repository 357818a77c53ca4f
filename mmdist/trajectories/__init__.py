"""One run after the other: each leg starts from the last one's result."""
