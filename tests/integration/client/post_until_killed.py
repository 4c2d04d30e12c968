# SPDX-License-Identifier: Apache-2.0
"""A program that posts numbers and reads them back, until it is killed.

    python post_until_killed.py URL FILE LAST < token

It posts LAST numbers into the notes to itself, from the one that it has not read in an
earlier run, and prints each number when it reads it.
"""

import asyncio
import sys

from chatmotor.client import Client, MessageNew


async def main(url: str, file: str, last: int) -> None:
    """Post and read, to the end or to the kill."""
    token = sys.stdin.readline().strip()
    async with Client(url, token=token, state=file) as client:
        await client.until_live()
        assert client.user is not None
        notes = client.conversation(to=client.user)
        # Those of the runs before are said again: a cid is one message.
        for number in range(1, last + 1):
            notes.post(number, cid=f"n{number}")
        async for event in client.events():
            if isinstance(event, MessageNew):
                print(event.body, flush=True)
                if event.body == last:
                    break
        await client.drain()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
