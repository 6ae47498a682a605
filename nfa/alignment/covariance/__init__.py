"""The covariance K of the pre-activation tangent features of every layer."""
