"""The user's own code and networks, and torchvision, whose import may fail.

``users_code``          run the user's code: whatever it raises becomes one line, and it changes no other cell
``references``          find what ``module:name`` names
``network``             a network of the user's own: build it, read its weights, try it on samples
``torchvision_import``  import torchvision, also beside a torch that does not fit its compiled part

A new guard around the user's code (a setting to be put back, a way to leave to be caught) is added in ``users_code``.
"""
