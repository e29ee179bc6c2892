"""Whether a server answers at all: one question that is answered late, or never, says nothing yet."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from stenobus_bus import Bus, BusError, ServerUnavailable
from stenobus_bus.connection import ApiError

#: Seconds between two questions while no answer has come.
_AGAIN: Final = 1.25


async def answers(bus: Bus, question: str, within: float) -> None:
    """Return as soon as the server has answered one of several equal questions.

    They overlap, so that a server that is slow with each of them answers in time as well.

    Args:
        question: subject of the JetStream API, without its prefix.
        within: seconds from the first question on.

    Raises:
        BusError: no answer in time.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    trouble: BusError = ServerUnavailable(f"The JetStream API does not answer for {within:g} s.")
    asked: set[asyncio.Task[Any]] = set()
    try:
        while (left := end - loop.time()) > 0:
            asked.add(asyncio.create_task(bus.api(question, timeout=within)))
            pause = asyncio.create_task(asyncio.sleep(min(_AGAIN, left)))
            asked.add(pause)
            while not pause.done():
                done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                asked -= done
                for each in done - {pause}:
                    match each.exception():
                        case None | ApiError():  # a refusal is an answer, too
                            return
                        case BusError() as error:
                            trouble = error
                        case error:
                            raise error
        raise trouble
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
