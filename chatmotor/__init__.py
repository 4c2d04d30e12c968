# SPDX-License-Identifier: Apache-2.0
"""Chatmotor: instant messaging you host yourself, over WebSockets and RabbitMQ."""

__version__ = "0.1.0"
