# SPDX-License-Identifier: Apache-2.0
"""What Chatmotor is measured against."""
