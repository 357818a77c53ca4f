"""The embedded world: procedural heads, their captions, and their shards."""
