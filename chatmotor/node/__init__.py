# SPDX-License-Identifier: Apache-2.0
"""One running process: its connections, and the beat that watches over them."""
