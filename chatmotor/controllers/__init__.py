# SPDX-License-Identifier: Apache-2.0
"""Tornado's edge: requests in, answers and sockets out."""
