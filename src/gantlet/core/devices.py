"""Devices by name."""

from gantlet.core.errors import UserError


def check_device(name: str) -> None:
    """Checks that a device can compute.

    Raises:
        UserError: If there is no such device on this machine.
    """
    if name == "cpu":
        return
    import torch

    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"--device must be one that this machine has, such as cpu. Got {name!r}."
        ) from error
