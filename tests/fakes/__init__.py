# SPDX-License-Identifier: Apache-2.0
"""Ports without the outside.  Each passes the contract suite of its port."""
