"""Calls the tools of mcp-fooocus-api over its own protocol, as a chat program does; prints what they gave."""

import asyncio
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

URL = os.environ["BASE_URL"] + "/v1/generation/text-to-image"
SERVER = StdioServerParameters(
    command=sys.executable, args=["-m", "mcp_fooocus_api"], env=dict(os.environ) | {"FOOOCUS_API_URL": URL}
)


async def main():
    """Start the server, list its tools, and have it draw."""
    async with stdio_client(SERVER) as streams, ClientSession(*streams) as session:
        await session.initialize()
        tools = await session.list_tools()
        asked = {"prompt": "a macro photograph of a cat", "performance": "Extreme Speed", "aspect_ratio": "64*64"}
        drawn = await session.call_tool("generate_image", asked)
        return {"tools": [tool.name for tool in tools.tools], "drawn": json.loads(drawn.content[0].text)}


json.dump(asyncio.run(main()), sys.stdout)
