# SPDX-License-Identifier: Apache-2.0
"""Each port, carried by something real."""
