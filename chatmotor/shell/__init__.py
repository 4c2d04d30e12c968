# SPDX-License-Identifier: Apache-2.0
"""``chatmotor send`` and its like: Chatmotor for people and scripts in shells."""
