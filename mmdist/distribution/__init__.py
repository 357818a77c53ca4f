"""Where priors run: in this process, or each in a Ray actor of its own."""
