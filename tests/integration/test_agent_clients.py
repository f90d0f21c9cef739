"""Agents of openai-agents and chains of LangChain get images in a conversation, where these packages are installed."""

import importlib.util
import os
from typing import Any

import pytest

from tests.support.images import pixels
from tests.support.own_loop import run_in_own_loop

pytestmark = pytest.mark.skipif("QIS_FULL" not in os.environ, reason="imports large packages; QIS_FULL=1 runs it")

TOOL = {"type": "image_generation", "size": "64x64", "seed": 7}
SAID = "The image is 64x64, its seed is 7."
needs_agents = pytest.mark.skipif(
    importlib.util.find_spec("agents") is None,
    reason="openai-agents is not installed: it needs websockets below 17, and these tests a newer one",
)
needs_langchain = pytest.mark.skipif(
    importlib.util.find_spec("langchain_openai") is None, reason="langchain-openai is not installed"
)


@needs_agents
def test_an_agent_generates_and_then_edits_the_image_of_its_history(fake_server, monkeypatch):
    import agents

    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    monkeypatch.setenv("OPENAI_BASE_URL", fake_server.url + "/v1")
    agents.set_tracing_disabled(True)
    agent = agents.Agent(name="artist", model="gpt-5", tools=[agents.ImageGenerationTool(tool_config=TOOL)])

    async def talk() -> tuple[Any, Any, list[str]]:
        first = await agents.Runner.run(agent, "a red circle")
        history = [*first.to_input_list(), {"role": "user", "content": "make it blue"}]
        second = await agents.Runner.run(agent, history)
        streamed = agents.Runner.run_streamed(agent, "a star", previous_response_id=first.last_response_id)
        events = [event.data.type async for event in streamed.stream_events() if event.type == "raw_response_event"]
        return first, second, events

    first, second, events = run_in_own_loop(talk())
    assert first.final_output == second.final_output == SAID
    assert second.new_items[0].raw_item.action == "edit"
    assert events[-1] == "response.completed"


@needs_langchain
def test_a_chain_gets_an_image_block_and_edits_it_by_its_message(fake_server):
    from langchain_core.messages import HumanMessage
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-5", base_url=fake_server.url + "/v1", api_key="unused", use_responses_api=True)
    chain = model.bind_tools([TOOL])
    first = chain.invoke("a red circle")
    assert [block["type"] for block in first.content_blocks] == ["image", "text"]
    other_seed = model.bind_tools([TOOL | {"seed": 9}])
    second = other_seed.invoke([HumanMessage("a red circle"), first, HumanMessage("make it blue")])
    # The fake engine edits by changing nothing.
    assert (pixels(second.content_blocks[0]["base64"]) == 7).all()
    chat = ChatOpenAI(
        model="x", base_url=fake_server.url + "/v1", api_key="unused", extra_body={"modalities": ["image", "text"]}
    )
    assert chat.invoke("a red circle").content.startswith("![image](http://")
