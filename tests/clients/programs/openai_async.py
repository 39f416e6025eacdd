"""Asks by the `openai` package's other client, at once and as a stream; prints what came of it."""

import asyncio
import json
import os
import sys

from openai import AsyncOpenAI

SMALL = {"seed": 7, "steps": 4, "style_selections": []}
QUICK = {"model": "toy", "prompt": "a cat", "size": "64x64", "extra_body": SMALL}


async def main():
    """Two requests beside each other, and a stream."""
    base = os.environ["BASE_URL"] + "/v1"
    async with AsyncOpenAI(base_url=base, api_key=os.environ["KEY"], _strict_response_validation=True) as client:
        answers = await asyncio.gather(*(client.images.generate(**QUICK) for _ in range(2)))
        stream = await client.images.generate(stream=True, partial_images=1, n=2, **QUICK)
        events = [event.type async for event in stream]
    json.dump({"same": answers[0].data[0] == answers[1].data[0], "events": events}, sys.stdout)


asyncio.run(main())
