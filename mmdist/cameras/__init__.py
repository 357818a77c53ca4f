"""Where pictures are taken from, and the words for it."""
