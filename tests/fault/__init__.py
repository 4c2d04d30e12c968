# SPDX-License-Identifier: Apache-2.0
"""Processes are killed here, and what was promised is compared with what is left."""
