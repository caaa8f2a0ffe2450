"""What would happen if? The shipped balancers, unchanged, against simulated servers in virtual time.

world, score = World(), Score()
endpoints = [Endpoint("server", n) for n in range(11)]
for endpoint in endpoints:
    endpoint.carrier = Delay(world, lambda: 0.167)
client = Client(world, make("default", "demo", endpoints), Random(1).random, score)
arrivals(world, client.ask, lambda now: 1000.0, until=60.0, gap=lambda: 1.0)
world.run(until=70.0)
print(score.success)
"""

from __future__ import annotations

from .clients import Client, Picks, arrivals
from .score import Score
from .servers import Delay, Server, Sharing
from .world import World

__all__ = ["Client", "Delay", "Picks", "Score", "Server", "Sharing", "World", "arrivals"]
