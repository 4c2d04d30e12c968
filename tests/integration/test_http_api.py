# SPDX-License-Identifier: Apache-2.0
"""The HTTP API under schemathesis, which makes requests from the OpenAPI document.

It holds each answer against the document, sends what the document forbids, leaves the
token out, and asks with methods that are not there.  More of it, by hand:

    CHATMOTOR_TEST_EXAMPLES=500 CHATMOTOR_TEST_SEED=7 pytest -k schemathesis
"""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

from chatmotor.controllers import openapi
from tests.harness.node import ROOT, ChatmotorNode
from tests.harness.v1_client import PASSWORD, acall, log_in, sign_up

KEY = "k" * 40
EXAMPLES = os.environ.get("CHATMOTOR_TEST_EXAMPLES", "12")
SEED = os.environ.get("CHATMOTOR_TEST_SEED", "4")
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
# Who asks, who logs out, an administrator, and whom it may deactivate.
ACCOUNTS = ("alice", "carol", "root-1", "bob")
UNLIMITED = {
    "CM_SENDS_PER_SECOND": "100000",
    "CM_SENDS_BURST": "100000",
    "CM_LOOKUPS_PER_MINUTE": "100000",
    "CM_ADDRESS_ATTEMPTS": "1000000",
    "CM_LOGIN_ATTEMPTS": "1000000",
    "CM_DEVICES_MAX": "10000",
}


async def test_schemathesis_finds_nothing() -> None:
    """
    The API does what its document says, whatever is asked; with all checks on.

    The seed is fixed, so that a run that was good is good again.
    """
    options = UNLIMITED | {"CM_BROKER": "embedded", "CM_SERVER_API_KEY": KEY}
    async with ChatmotorNode(**options) as node:
        scene = await _scene(node)

        code, said = await _schemathesis(node, scene)

        print(said)
        assert 0 == code
        tested = re.search(r"Tested: (\d+)", said)
        assert tested is not None
        assert len(openapi.document()["paths"]) <= int(tested[1])


async def _scene(node: ChatmotorNode) -> dict[str, object]:
    """Accounts, a group and a direct conversation."""
    asks, logs_out, admin, victim = ACCOUNTS
    link = await node.line()
    founder = {"username": admin, "password": PASSWORD}
    await acall(node, "/v1/setup", founder | {"code": link.rpartition("#")[2]})
    for name in (asks, logs_out, victim):
        await sign_up(node, name)
    tokens = {name: (await log_in(node, name)).token for name in (asks, admin)}
    send = {"cid": "c1", "to": victim, "body": "hi"}
    sent = await acall(node, "/v1/rpc/send", send, token=tokens[asks])
    group = {"cid": "c2", "title": "Tea", "members": [victim]}
    made = await acall(node, "/v1/rpc/conv.create", group, token=tokens[asks])
    hook = {"conv": made["conv"]["conv"], "name": "build"}
    incoming = await acall(node, "/v1/rpc/hook.create", hook, token=tokens[asks])
    return {
        "code": incoming["hook"]["url"].rpartition("/")[2],
        "url": node.url,
        "key": KEY,
        "accounts": ACCOUNTS,
        "tokens": tokens,
        "convs": [sent["conv"], made["conv"]["conv"]],
        "device": "phone",
        "password": PASSWORD,
    }


async def _schemathesis(
    node: ChatmotorNode, scene: dict[str, object]
) -> tuple[int | None, str]:
    """Its exit code, and what it says."""
    environment = os.environ | {
        "CHATMOTOR_TEST_SCENE": json.dumps(scene),
        "SCHEMATHESIS_HOOKS": "tests.harness.foreign_requests",
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "*",
    }
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("st")), "--config-file", CONFIGURATION),
        *("--no-color", "run", node.url + "/v1/openapi.json", "--seed", SEED),
        *("--max-examples", EXAMPLES, "--checks", "all", "--continue-on-failure"),
        *("--output-truncate", "true"),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, re.sub(r"(0{40,}|.{600}).*", r"\1...", output.decode())
