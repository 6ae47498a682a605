"""Weights & Biases: the only folder that imports ``wandb``.

``tracker`` publishes runs, ``report`` builds the W&B Report of a sweep, ``client`` holds the client's settings, log-in
and errors, ``environment`` its environment variables, and ``internals`` the parts of the client that are not public.
"""
