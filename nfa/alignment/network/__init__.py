"""Find the layers of any network: every product of the samples with a weight W, and the gradient of its result.

A layer is a matrix W with a product h = W x in the forward pass. This room finds all of them, whoever multiplies (a
module, a function, attention, ``x @ self.weight``), gives each a name and a place, and hands out J = d outputs / d h.
It also refuses networks and samples for which K would not be a mean over samples. K itself is computed next door, in
``nfa.alignment.covariance``.

Samples and networks, before anything runs:
    ``arguments``   the options that the public functions share, and their checks.
    ``samples``     cuts inputs into batches; draws some of them.
    ``fitting``     says in one sentence why a network does not run on its samples.
    ``wrapped``     ``Wrapped``: a network of several inputs as one from tensor to tensor.
    ``copies``      deep copies of a network.

One forward pass:
    ``interception``   watches the operations of a pass below autograd and finds products with a parameter.
    ``operations``     reads each kind of operation as h = W x; the reasons why a weight is not measured. A new
                       operation is entered here.
    ``layers``         a layer as a view of a parameter (``WeightView``, ``Layer``).
    ``layouts``        weights that are copied into another order before they multiply.
    ``memory_labels``  labels on memory, which all views of a tensor share.
    ``attention``      query, key and value in one product.
    ``heads``          the rows of each attention head in a query, key or value projection.
    ``recording``      ``record``: a pass with its layers, their reverse passes, and what is left out with its reason.
    ``single_sample``  ``record_doubled``: as ``record``, but a single sample is run as two copies of it, because
                       batches of one are special in torch.
    ``topology``       the depth of each layer, read off the autograd graph.

Several passes over one network:
    ``naming``  names of layers that do not change from pass to pass.
    ``survey``  the layers and reasons of all passes together; ``survey_layers`` runs a network on as few samples as
                show all of its layers.

May the network be measured, and is it left as it was?
    ``independence``, ``trial``, ``trial_schedule``  tests whether the outputs for a sample depend on other samples: the
                                                     comparisons, one trial, and when trials are made.
    ``draws``                         states of generators of random numbers.
    ``measuring_mode``, ``snapshot``  eval mode for the time of a measurement, and everything put back afterwards.
    ``reasons``                       the list of all texts that the column ``note`` of a table can hold.
"""
