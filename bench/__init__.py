# SPDX-License-Identifier: Apache-2.0
"""How fast Chatmotor is, beside a plain relay, in one run on one machine.

run.py          starts everything and checks the counts
report.py       medians, ratios and the table
generator.py    the clients: load, latencies, and a ledger of every message
store.py        the store alone: sends per second, on SQLite and PostgreSQL
cpu.py          the CPU time of a process
baseline/       the relay that Chatmotor is compared with
README.md       how to run it and how to read it
"""
