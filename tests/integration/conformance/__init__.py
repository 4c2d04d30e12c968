# SPDX-License-Identifier: Apache-2.0
"""The wire as a stranger sees it: bytes of our own making against a real node."""
