"""neural-tangents, unchanged on disk, made to work on the JAX that is installed.

neural-tangents 0.6.5 (December 2023) is its last release and no longer imports on
JAX 0.10 and later. This package is the only place in ``ntk_air`` that knows its
internals or JAX's private side. It has three entrances:

* `_flatten.flatten` turns a jaxpr into a list of steps that can be run again with changes;
* :func:`load` returns the working ``neural_tangents`` module;
* :func:`install` arranges that a later ``import neural_tangents`` anywhere in the
  program gives the same working module. It is cheap and imports neither JAX nor
  neural-tangents.
"""

from ntk_air._neural_tangents._errors import IncompatibleJaxError
from ntk_air._neural_tangents._hook import install, load

__all__ = ["IncompatibleJaxError", "install", "load"]
