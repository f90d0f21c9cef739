"""Talk to the server as a chain of LangChain: an image, an edit by its message, and a chat; print them as JSON."""

import json
import sys

from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

TOOL = {"type": "image_generation", "size": "64x64", "seed": 7}
SERVER = {"base_url": sys.argv[1] + "/v1", "api_key": "unused"}

model = ChatOpenAI(model="gpt-5", use_responses_api=True, **SERVER)
first = model.bind_tools([TOOL]).invoke("a red circle")
other_seed = model.bind_tools([TOOL | {"seed": 9}])
second = other_seed.invoke([HumanMessage("a red circle"), first, HumanMessage("make it blue")])
chat = ChatOpenAI(model="x", extra_body={"modalities": ["image", "text"]}, **SERVER)
said = {
    "blocks": [block["type"] for block in first.content_blocks],
    "edited": second.content_blocks[0]["base64"],
    "chat": chat.invoke("a red circle").content,
}
print(json.dumps(said))
