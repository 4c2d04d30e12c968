# SPDX-License-Identifier: Apache-2.0
"""The fixture that users of the installed package have without asking."""

from chatmotor.pytest_plugin import chatmotor_server

__all__ = ["chatmotor_server"]
