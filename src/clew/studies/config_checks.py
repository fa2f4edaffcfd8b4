"""Checks that the settings of several studies share."""

from __future__ import annotations

from clew.errors import InputError


def at_least(config: object, **least: int) -> None:
    """InputError when a field of a config is smaller than its number here."""
    for name, low in least.items():
        if getattr(config, name) < low:
            raise InputError(f"{name} is {getattr(config, name)}: give at least {low}")


def within(config: object, **limits: tuple[int, int]) -> None:
    """InputError when a field of a config is beyond its two limits here, which are allowed."""
    for name, (least, most) in limits.items():
        if not least <= getattr(config, name) <= most:
            raise InputError(f"{name} is {getattr(config, name)}: give {least} to {most}")


def is_share(name: str, value: float) -> None:
    """InputError for a value that is no share, or none at all."""
    if not 0 < value <= 1:
        raise InputError(f"{name} is {value}: give a share between 0 and 1")
