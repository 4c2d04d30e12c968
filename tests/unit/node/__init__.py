# SPDX-License-Identifier: Apache-2.0
"""A node's connections without sockets and without time."""
