"""Compute the covariance K of the pre-activation tangent features of every layer, and the gradients that go with it.

For a layer h = W x with W (k, d), let J_i be the rows d f(x_i) / d h: one row of k numbers for each output of the
network and each position that W multiplies. These are the pre-activation tangent features of sample i, and

    K = (1/n) sum_i J_i^T J_i,    (k, k)            (Beaglehole et al., arXiv 2402.05271)

By the chain rule d f / d x = J W, so the average gradient outer product of the layer's inputs, a (d, d) matrix, is

    G = W^T K W

exactly, for the path through this layer. So no (d, d) matrix is needed (``direct_agop`` alone forms one): all that is
asked of G is asked of K and W, in k-space. Traces, for instance, are tr G = tr(K S) and tr G^2 = tr(K S K S) with the
Gram matrix S = W W^T, (k, k), and G u = W^T (K (W u)) for a direction u. k is a layer's width, d can be 9 times the
channels of a convolution.

Where to find what:
    ``measure``      ``measure_covariances``: K of every layer in one pass over the samples, exact or sketched. It
                     calls all the others.
    ``passes``       the reverse passes over one batch, and the running sum of J^T J of each layer.
    ``blocks``       K kept in blocks of samples and two independent sketches, for error bars.
    ``products``     sums of J^T J that compute one triangle, in a number type that keeps small eigenvalues.
    ``gradients``    dL/dW of every layer, for quantities that compare weights with the gradient of the loss.
    ``direct_agop``  G from its definition, without K: the other side of ``nfa.check``.

A new estimator of K is a function in ``passes`` beside ``exact_passes`` and ``sketched_passes``.
"""
