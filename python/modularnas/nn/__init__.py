"""What runs in a supernet in the place of the user's modules: `mixed` (a choice of ops), `elastic` (sliced weights).

The room knows torch alone. A module here has one attribute that says which choice is active and changes nothing else
in the network around it.
"""

from modularnas.nn.elastic import ElasticConv1d, ElasticConv2d, ElasticConv3d, elastic_conv
from modularnas.nn.mixed import MixedOp

__all__ = ["ElasticConv1d", "ElasticConv2d", "ElasticConv3d", "MixedOp", "elastic_conv"]
