"""Clay: heads of signed distances, as the shipped priors know them."""
