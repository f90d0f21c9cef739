"""Talk to the server as an agent of openai-agents: an image, an edit by its history, a stream; print them as JSON."""

import asyncio
import json
import os
import sys

os.environ |= {"OPENAI_API_KEY": "unused", "OPENAI_BASE_URL": sys.argv[1] + "/v1"}

import agents

TOOL = {"type": "image_generation", "size": "64x64", "seed": 7}


async def talk() -> dict[str, object]:
    agents.set_tracing_disabled(True)
    agent = agents.Agent(name="artist", model="gpt-5", tools=[agents.ImageGenerationTool(tool_config=TOOL)])
    first = await agents.Runner.run(agent, "a red circle")
    history = [*first.to_input_list(), {"role": "user", "content": "make it blue"}]
    second = await agents.Runner.run(agent, history)
    streamed = agents.Runner.run_streamed(agent, "a star", previous_response_id=first.last_response_id)
    events = [event.data.type async for event in streamed.stream_events() if event.type == "raw_response_event"]
    return {
        "said": [first.final_output, second.final_output],
        "action": second.new_items[0].raw_item.action,
        "last_event": events[-1],
    }


print(json.dumps(asyncio.run(talk())))
