# SPDX-License-Identifier: Apache-2.0
"""How fast Chatmotor is, beside a plain relay, in one run on one machine.

run.py              rounds of measurements, and RabbitMQ's counts
subjects.py         starts what is measured
report.py           medians, ratios and the table
generator.py        the load: all clients of one measurement, and their latencies
client.py           one client, with its ledger of every message:
classic_client.py   in the classic mode
durable_client.py   in the v1 protocol
store.py            the store alone: sends per second, on SQLite and PostgreSQL
cpu.py              the CPU time of a process and its children
baseline/           the relay that Chatmotor is compared with
README.md           how to run it and how to read it
"""
