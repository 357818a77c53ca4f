"""What is asked of the priors: concepts, their scores, and who pulled."""
