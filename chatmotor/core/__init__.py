# SPDX-License-Identifier: Apache-2.0
"""The rules and use cases.  Knows ports and the wire, never sockets or libraries."""
