"""The server goes away and comes back, as it does at every upgrade."""

from __future__ import annotations

from stenobus_core import Context, Plugin
from stenobus_testing import Gate, NatsServer, Stage, eventually

from ..support.contracts import Ping, Pong


async def test_what_was_in_hand_and_what_waits_is_done_after_a_restart_of_the_server(
    stage: Stage, nats_server: NatsServer
) -> None:
    gate, plugin = Gate(), Plugin("patient")

    @plugin.handler(concurrency=2)
    async def work(event: Ping, ctx: Context) -> Pong:
        await gate()
        return Pong(number=event.number)

    await stage.run(plugin)
    for number in range(5):
        await stage.publish(Ping(number=number))
    await eventually(lambda: gate.waiting == 2)
    url = nats_server.url
    await nats_server.restart()
    assert nats_server.url == url
    gate.open()
    outcome = await stage.run_until_idle()
    assert sorted(Pong.model_validate_json(pong.data).number for pong in outcome.of(Pong)) == [0, 1, 2, 3, 4]
    assert outcome.letters == ()
