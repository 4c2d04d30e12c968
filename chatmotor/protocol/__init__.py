# SPDX-License-Identifier: Apache-2.0
"""The wire, without I/O: bytes and text in, verdicts and bytes out."""
