# SPDX-License-Identifier: Apache-2.0
"""Scenarios for clients, as files; README.md has their form."""
