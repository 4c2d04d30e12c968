# SPDX-License-Identifier: Apache-2.0
"""The default bindings with hooks that do everything sooner; for ``CM_BINDINGS``."""

from typing import Any

from injector import InstanceProvider, singleton

from chatmotor import bindings
from chatmotor.node.hook_pace import Pace

HASTY = Pace(beat=0.3, lease=1.5, first_retry=0.05, last_retry=0.2)

interface_bindings: dict[Any, dict[str, Any]] = bindings.interface_bindings | {
    Pace: {"to": InstanceProvider(HASTY), "scope": singleton}
}
