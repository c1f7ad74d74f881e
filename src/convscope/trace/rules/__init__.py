"""One file an operator family: what its operators cost, see, and are made of."""

from convscope.trace.rules import (
    convolution,
    dense,
    normalisation,
    pointwise,
    pooling,
    reductions,
    resizing,
    shapes,
)
from convscope.trace.rules.base import (
    Call,
    Cost,
    Factor,
    Rule,
    Sum,
    Term,
    ValueCall,
    makes_constants,
    rule_of,
)

_FAMILIES = (convolution, dense, normalisation, pointwise, pooling, reductions, resizing, shapes)

__all__ = ["Call", "Cost", "Factor", "Rule", "Sum", "Term", "ValueCall", "makes_constants", "rule_of"]
