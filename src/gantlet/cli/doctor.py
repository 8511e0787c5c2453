"""gantlet doctor."""

from gantlet.cli.options import Flag


def doctor(*, json: Flag = False) -> int:
    """Check this installation and this machine.

    Args:
        json: Print one JSON object.
    """
    from json import dumps

    from gantlet import api

    found = api.doctor()
    if json:
        print(dumps({"facts": found.facts, "warnings": list(found.warnings)}, indent=2))
        return 0
    width = max(map(len, found.facts))
    for name, value in found.facts.items():
        print(f"{name:<{width}}  {value}")
    for warning in found.warnings:
        print(f"Warning: {warning}")
    print("Everything is in order." if not found.warnings else "")
    return 0
