"""Work without numbers: shapes, operations and memory of a computation that is never made."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode


@contextmanager
def pretend() -> Generator[Callable[[Tensor], Tensor], None, None]:
    """Makes every tensor computed inside a shape on its device, without numbers.

    Nothing is computed and no memory is taken, so that a step of any size can be counted at once.
    Tensors from outside, such as weights, can be used and are left as they are. What comes out of
    the context is a function that turns a tensor into its shape. Work that looks at the numbers
    (``item``, a condition on a value) raises an error of torch's, a ``RuntimeError``.

    Example:
        >>> import torch
        >>> from gantlet.compute.flops import count
        >>> with pretend() as shape:
        ...     x = shape(torch.empty(1, 1000)).expand(1000, 1000)
        ...     count(lambda: x @ x).flops
        2000000000.0
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode.from_tensor
