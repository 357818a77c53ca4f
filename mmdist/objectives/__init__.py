"""What is asked of the priors: concepts, requests, and their answers."""
