"""The update rules that PyTorch does not have, and the parts that several optimizers share.

``muon``, ``sign`` and ``speed_limited`` hold one optimizer each, on the common loop of ``base``; ``moments``, ``clip``
and ``stacked`` are shared parts; ``first_step`` takes the first step of any optimizer. Settings are one folder up.
"""
