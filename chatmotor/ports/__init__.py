# SPDX-License-Identifier: Apache-2.0
"""What Chatmotor asks of the outside, as small protocols that state guarantees."""
