# SPDX-License-Identifier: Apache-2.0
"""The composition root's shelf: builds each part once, as the bindings say.

``CM_BINDINGS`` names a Python file with

    interface_bindings = {key: {"to": provider, "scope": scope}, …}

for the ``injector`` library.  Nothing is built until it is asked for, and nothing
else in Chatmotor asks: parts get what they need by their constructors.
"""

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import injector

from chatmotor.errors import OperatorError

Part = TypeVar("Part")


class ApplicationContext:
    """
    The parts of one process.

    Args:
        bindings: The file that CM_BINDINGS names.
        given: Objects that exist already, by key.

    Raises:
        OperatorError: The file is missing, broken, or has no bindings.
    """

    def __init__(self, bindings: Path, given: Mapping[type, object]) -> None:
        self._interface_bindings = _load(bindings)
        self._given = given
        self._injector = injector.Injector(self._configure, auto_bind=False)

    def get(self, interface: type[Part]) -> Part:
        """The one object behind *interface*, with all that it needs."""
        return self._injector.get(interface)

    def _configure(self, binder: injector.Binder) -> None:
        for key, config in self._interface_bindings.items():
            binder.bind(key, to=config["to"], scope=config["scope"])
        for interface, instance in self._given.items():  # these win
            binder.bind(interface, to=injector.InstanceProvider(instance))


def _load(bindings: Path) -> dict[Any, dict[str, Any]]:
    if not bindings.is_file():
        raise OperatorError(
            f"there is no bindings file {bindings}; set CM_BINDINGS or --bindings to "
            "a Python file with interface_bindings"
        )
    try:
        found = runpy.run_path(str(bindings))["interface_bindings"]
        return dict(found)
    except KeyError:
        raise OperatorError(f"{bindings} has no interface_bindings = {{…}}") from None
    except Exception as broken:
        raise OperatorError(
            f"{bindings} cannot be read: {type(broken).__name__}: {broken}"
        ) from broken
