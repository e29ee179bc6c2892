"""Publishers and a chain of three handlers, every one a process of its own, while at random all of it is killed, paused
and cut off: every event comes out exactly once.

``STENOBUS_CHAOS_SECONDS`` is the length of each fight, ``STENOBUS_CHAOS_SEED`` decides what happens in it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..support.cluster import Cluster, Node
from .fire import SECONDS, SEED, Field, Replicated, verify

#: Events each publisher has for every second of a fight.
PACE = 10


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Field]:
    server = await Node(tmp_path).start()
    scene = Field([server], tmp_path, random.Random(SEED))
    try:
        await scene.open(processes=2, publishers=2, events=int(PACE * SECONDS))
        yield scene
    finally:
        await scene.close()
        await server.kill()


@pytest.mark.timeout(SECONDS + 1200)
async def test_every_event_comes_out_once_whoever_is_killed_paused_or_cut_off(alone: Field) -> None:
    await alone.fight(
        {
            alone.kill_a_handler: 4,
            alone.pause_a_handler: 2,
            alone.kill_a_publisher: 2,
            alone.kill_a_server: 2,
            alone.pause_a_server: 1,
            alone.break_a_connection: 4,
        },
        SECONDS,
    )
    print(f"calm again after {await alone.settle():.1f} s")
    await verify(alone)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Replicated]:
    nodes = await Cluster(tmp_path).start()
    scene = Replicated(nodes.servers, tmp_path, random.Random(SEED), cluster=nodes)
    try:
        await scene.open(processes=2, publishers=2, events=int(PACE * SECONDS))
        yield scene
    finally:
        await scene.close()
        await nodes.stop()


@pytest.mark.timeout(SECONDS + 1200)
async def test_every_event_comes_out_once_while_leaders_of_a_cluster_die_and_nodes_are_cut_off(
    cluster: Replicated,
) -> None:
    await cluster.fight(
        {
            cluster.kill_a_leader: 3,
            cluster.kill_a_server: 1,
            cluster.isolate_a_server: 2,
            cluster.kill_a_handler: 2,
            cluster.kill_a_publisher: 1,
            cluster.break_a_connection: 2,
        },
        SECONDS,
    )
    print(f"calm again after {await cluster.settle():.1f} s")
    await verify(cluster)
