"""How priors come to be: small ones from nothing, others by fine-tuning."""
