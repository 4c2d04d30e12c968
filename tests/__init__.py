# SPDX-License-Identifier: Apache-2.0
"""Tests.  unit and project need no server; contract, integration and browser do."""
