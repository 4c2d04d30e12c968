# SPDX-License-Identifier: Apache-2.0
"""What the tests stand on: private servers, nodes, peers, and a wire to cut."""
