"""See every product with a weight W, and the gradient of its result, in any network."""
