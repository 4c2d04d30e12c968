# SPDX-License-Identifier: Apache-2.0
"""A password hasher that takes no time; its hash is the password, with a version."""

from dataclasses import dataclass, field


@dataclass
class PlainHasher:
    """
    See ``PasswordHasher``.

    Attributes:
        version: Another one makes all hashes old.
        verified: What was compared, in order; none for an unknown account.
    """

    version: int = 1
    verified: list[str | None] = field(default_factory=list)

    async def hash(self, password: str) -> str:
        return f"plain{self.version}:{password}"

    async def verify(self, known: str | None, password: str) -> bool:
        self.verified.append(known)
        return known is not None and known.partition(":")[2] == password

    def needs_rehash(self, known: str) -> bool:
        return not known.startswith(f"plain{self.version}:")
