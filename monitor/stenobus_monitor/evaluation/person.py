"""Somebody who approves, with nothing that the monitor has: by the command, by an event, or on the page of a link."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urljoin

import httpx2

from stenobus_bus import Bus
from stenobus_contracts import MonitorActionApproved

from ..actions.approvals import Approvals
from ..actions.course import Course
from ..store import Store
from .errors import EvaluationError
from .inbox import Inbox
from .interface import Interface
from .outcome import Acted
from .process import command

_LINK: Final = re.compile(r"link: (http\S+)")
_SOON: Final = timedelta(minutes=10)


class Person:
    """Approves each kind of action on each target once, and takes it back once where that is wanted.

    Args:
        by: how.
        folder: where their commands run.
        key: file of the key of approvals, which only they and the executor have.
    """

    def __init__(
        self,
        by: Literal["command", "event", "link"],
        folder: Path,
        key: Path,
        bus: Bus,
        interface: Interface,
        inbox: Inbox,
        environment: dict[str, str],
    ) -> None:
        self._by, self._folder, self._key = by, folder, key
        self._bus, self._interface, self._inbox, self._environment = bus, interface, inbox, environment
        self._done: dict[tuple[str, str, bool], str] = {}

    async def answer(self, actions: Collection[Acted], *, undo: bool) -> None:
        """Approve what waits for it; and, if wanted, take back what succeeded.

        Raises:
            EvaluationError: they are not let.
        """
        ended = {each.id: each.outcome for each in actions if each.done}
        try:
            for each in actions:
                if each.level == "approve" and each.id not in ended:
                    await self._once(each, undo=False)
                elif undo and ended.get(each.id) == "succeeded":
                    await self._once(each, undo=True)
        except httpx2.HTTPError as error:
            raise EvaluationError(f"The HTTP interface does not answer: {error!r}") from error

    async def _once(self, acted: Acted, *, undo: bool) -> None:
        """For each kind and target: the same trouble may be proposed again while it is being mended.

        Only where the monitor refused to do it, because things had changed meanwhile, the next proposal counts.
        """
        what = acted.kind, acted.target, undo
        earlier = self._done.get(what)
        if earlier is not None and (earlier == acted.id or (await self._course(earlier)).outcome != "refused"):
            return
        if await self._give(acted.id, undo=undo):
            self._done[what] = acted.id

    async def _give(self, action_id: str, *, undo: bool) -> bool:
        match self._by:
            case "command":
                options = ["--no-wait", *(["--undo"] if undo else [])]
                await command(self._folder, "monitor", "approve", action_id, *options, environment=self._environment)
            case "event":
                await self._publish(action_id, undo=undo)
            case "link":
                link = self._link(action_id)
                if link is None:
                    return False  # the alert is not there yet
                await self._take_back(action_id) if undo else await self._press(link)
        return True

    async def _publish(self, action_id: str, *, undo: bool) -> None:
        """As any producer does: a bare JSON body."""
        course = await self._course(action_id)
        token = Approvals(self._key).token(course.action, datetime.now(UTC) + _SOON, undo=undo)
        event = {"action_id": action_id, "approved_by": "eval", "token": token, "undo": undo}
        await self._bus.nc.jetstream().publish(MonitorActionApproved.subject, json.dumps(event).encode())

    async def _course(self, action_id: str) -> Course:
        course = await (await Store.open(self._bus)).course(action_id)
        if course is None:
            raise EvaluationError(f"There is no action {action_id}.")
        return course

    def _link(self, action_id: str) -> str | None:
        texts = (alert.text for alert in self._inbox.alerts if alert.action_id == action_id)
        return next((found[1] for text in texts if (found := _LINK.search(text))), None)

    async def _press(self, link: str) -> None:
        """Open the link, show the key, read what would be done, press the button."""
        async with httpx2.AsyncClient(timeout=30) as browser:
            asked = _Form.of(await browser.get(link))
            confirm = _Form.of(await browser.post(asked.address, data={"key": self._interface.key}))
            _checked(await browser.post(confirm.address, data=confirm.hidden))

    async def _take_back(self, action_id: str) -> None:
        """As a program does: the page only approves."""
        address = f"{self._interface.address}/v1/actions/{action_id}/approve"
        headers = {"Authorization": f"Bearer {self._interface.key}"}
        async with httpx2.AsyncClient(timeout=30) as client:
            _checked(await client.post(address, json={"undo": True}, headers=headers))


class _Form(HTMLParser):
    """The form of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._page = page
        #: Where it goes, and what it sends beside what people type.
        self.address = ""
        self.hidden: dict[str, str] = {}

    @classmethod
    def of(cls, answer: httpx2.Response) -> _Form:
        """Read it. Raises EvaluationError where there is none."""
        form = cls(str(_checked(answer).url))
        form.feed(answer.text)
        if not form.address:
            raise EvaluationError(f"The page of the link has no form: {answer.text[:300]}")
        return form

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Forms and their hidden fields."""
        known = dict(attrs)
        if tag == "form":
            self.address = urljoin(self._page, known.get("action") or "")
        elif tag == "input" and known.get("type") == "hidden":
            self.hidden[str(known.get("name"))] = known.get("value") or ""


def _checked(answer: httpx2.Response) -> httpx2.Response:
    if not answer.is_success:
        raise EvaluationError(f"{answer.request.url.path} answers {answer.status_code}: {answer.text[:300]}")
    return answer
