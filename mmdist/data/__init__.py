"""Pictures to learn from: multi-view sets, photos, concept images."""
