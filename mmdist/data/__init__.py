"""Pictures to learn from: procedural heads, multi-view sets, concept images."""
