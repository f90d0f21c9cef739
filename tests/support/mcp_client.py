"""The official SDK's client of the Model Context Protocol, connected to a server under test for one piece of work."""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
from mcp import StdioServerParameters, stdio_client
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.own_loop import run_in_own_loop
from tests.support.paths import ROOT

Work = Callable[[Client], Awaitable[Any]]


def talk(server: Any, work: Work, *, key: str = "", mode: str = "auto") -> Any:
    """Return what `work` makes of a client that is connected over HTTP."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def connected() -> Any:
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            Client(streamable_http_client(server.url + "/mcp", http_client=http), mode=mode) as client,
        ):
            return await work(client)

    return run_in_own_loop(connected())


def talk_over_stdio(server: Any, work: Work) -> Any:
    command = ["qwen_image_server.py", "mcp", "--url", server.url]

    async def connected() -> Any:
        parameters = StdioServerParameters(command=sys.executable, args=command, cwd=str(ROOT))
        async with Client(stdio_client(parameters)) as client:
            return await work(client)

    return run_in_own_loop(connected())


def called(server: Any, tool: str, key: str = "", **arguments: Any) -> Any:
    return talk(server, lambda client: client.call_tool(tool, arguments), key=key)
