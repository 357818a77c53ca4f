"""The trainings that launchers start, from pictures to a finished directory."""
