"""The update rules that PyTorch does not have, and what several optimizers share."""
