"""Programs that JAX traced, walked: flat lists of steps, linear programs, programs within."""

from ._flatten import FlatFunction, Step, flatten
from ._linear_program import Equation, Program, Variable, shield, struct
from ._linearize import linearize

__all__ = [
    "Equation",
    "FlatFunction",
    "Program",
    "Step",
    "Variable",
    "flatten",
    "linearize",
    "shield",
    "struct",
]
