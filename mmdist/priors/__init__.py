"""Frozen text-to-image models, their proxies, and how they would change pixels.

Everything here is torch and never imports JAX, so that a prior's process never
touches the learner's accelerator. Start with `prior.py`.
"""
