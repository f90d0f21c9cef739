"""The product of a Tucker decomposition: a kernel between two ranks, a matrix for the outputs and one for the inputs.

A rank may be larger than the layer's side, and adds nothing then: LyCORIS gives a convolution of 4 inputs one of 16.
"""

import torch


def tucker_product(core: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the change (outputs, inputs, kernel) in 32 bits of a core (rank, rank, kernel).

    `left` is (rank, outputs), `right` (rank, inputs). Of three tensors, einsum multiplies the first two first: of a
    small file with a core of 1 × 100,000, every output would have 100,000 kernels on the way. In this order, nothing on
    the way is larger than both the core and the change.
    """
    if is_too_wide(core, right):
        return torch.einsum("ir...,ip->pr...", narrowed(core, right), left.float())
    return torch.einsum("pj...,jr->pr...", torch.einsum("ij...,ip->pj...", core.float(), left.float()), right.float())


def is_too_wide(core: torch.Tensor, right: torch.Tensor) -> bool:
    """Return whether the core's second rank is larger than the inputs."""
    return core.shape[1] > right.shape[1]


def narrowed(core: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the core (rank, inputs, kernel) in 32 bits that has the same change with no `right` beside it."""
    return torch.einsum("ij...,jr->ir...", core.float(), right.float())
