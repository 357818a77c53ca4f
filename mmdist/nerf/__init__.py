"""The conditional NeRF: rays and an identity code in, Renders out."""
