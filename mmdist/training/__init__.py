"""Whole trainings, from pictures to a finished directory."""
