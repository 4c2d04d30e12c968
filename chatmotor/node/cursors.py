# SPDX-License-Identifier: Apache-2.0
"""Up to where the devices of this node have their mailboxes: written now and then.

A cursor that is too low costs a second delivery, and no more; so they are written
together, once a second, and again later when they cannot be.
"""

from collections.abc import Callable, Iterable, Mapping

from chatmotor.ports.accounts import Grant, TokenStore


class Cursors:
    """
    The cursors that are not written yet.

    Args:
        now: Milliseconds since the Unix epoch.
        on_saved: Called with the conversations that ``move`` was given, once the
            cursors are in the store.
    """

    def __init__(
        self,
        store: TokenStore,
        now: Callable[[], int],
        on_saved: Callable[[Iterable[str]], None],
    ) -> None:
        self._store = store
        self._now = now
        self._on_saved = on_saved
        self._convs: set[str] = set()
        self._unsaved: dict[tuple[str, str], int] = {}
        self._saving: dict[tuple[str, str], int] = {}

    def move(self, grant: Grant, seq: int, convs: Iterable[str] = ()) -> None:
        """
        The device has its mailbox up to *seq*, and more of *convs*.

        Cursors never move down.
        """
        self._keep({(grant.account.username, grant.device): seq})
        self._convs.update(convs)

    def of(self, grant: Grant) -> int:
        """The device's cursor: as it is stored, or as it is known here already."""
        key = (grant.account.username, grant.device)
        known = (self._unsaved.get(key, 0), self._saving.get(key, 0))
        return max(grant.cursor, *known)

    async def save(self) -> None:
        """
        Write them.  Those that could not be written are kept.

        Raises:
            StoreUnavailable, OutcomeUnknown: See ``TokenStore.save_cursors``.
        """
        if self._saving or not self._unsaved:
            return  # whoever is at it, or the next time, sees to it
        self._saving, self._unsaved = self._unsaved, {}
        convs, self._convs = self._convs, set()
        try:
            await self._store.save_cursors(self._saving, now=self._now())
        except BaseException:
            self._keep(self._saving)
            self._convs |= convs
            raise
        finally:
            self._saving = {}
        self._on_saved(convs)

    def _keep(self, cursors: Mapping[tuple[str, str], int]) -> None:
        for key, seq in cursors.items():
            self._unsaved[key] = max(seq, self._unsaved.get(key, 0))
