"""The tools that assistants may call, each with its arguments."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from imageserver.api.inputs.openai_options import OpenAIOptions, generate_fields
from imageserver.api.inputs.sizes import ANY_SIZE_PATTERN
from imageserver.api.inputs.validation import BlanksLeftOut, nullable, validated


class NoArguments(BaseModel, extra="forbid"):
    """A tool without arguments."""


class GenerateArguments(BlanksLeftOut, extra="forbid", json_schema_extra=nullable):
    """The arguments of `generate_image`, few enough for an assistant to choose from."""

    prompt: str = Field(description="Description of the image.")
    negative_prompt: str | None = Field(None, description="Concepts to avoid.")
    size: str | None = Field(
        None, pattern=ANY_SIZE_PATTERN, description="WIDTHxHEIGHT, or a shape such as 16:9; 512x512 by default."
    )
    n: int = Field(1, ge=1, description="Number of images.")
    seed: int | None = Field(None, description="The same seed gives the same image; random by default.")
    num_inference_steps: int | None = Field(None, ge=1, description="Number of denoising steps.")
    model: str | None = Field(None, max_length=200, description="One of list_models; the default model if omitted.")
    output_format: Literal["png", "jpeg", "webp"] = Field("png", description="File format.")
    background: Literal["opaque", "transparent"] | None = Field(
        None, description="transparent keeps the transparency that some models generate."
    )
    as_link: bool = Field(False, description="Return only the addresses of the images.")

    def to_generate_fields(self) -> dict[str, Any]:
        """Return the fields of `POST /generate` with the same meaning; raises InvalidParameter."""
        given = self.model_dump(include=set(OpenAIOptions.model_fields), exclude_none=True)
        model = {"model": self.model} if self.model else {}
        return generate_fields(validated(OpenAIOptions, given), self.prompt) | model


class EditArguments(GenerateArguments):
    """The arguments of `edit_image`."""

    image: str | list[str] = Field(
        description="The image to change: the address that generate_image returned, a data URL or base64; or several."
    )
    mask: str | None = Field(None, description="An image of the same size: white is regenerated, black is kept.")
    strength: float | None = Field(None, gt=0, le=1, description="How much the image changes; 0.85 by default.")


@dataclass(frozen=True)
class Tool:
    """A tool as assistants see it."""

    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    read_only: bool = False

    def listed(self) -> dict[str, Any]:
        """Return the tool as `tools/list` describes it."""
        hints = {"readOnlyHint": self.read_only, "destructiveHint": False, "openWorldHint": False}
        schema = {name: part for name, part in self.arguments.model_json_schema().items() if name != "description"}
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": schema,
            "annotations": {"title": self.title} | hints,
        }


LIST_MODELS = Tool("list_models", "List models", "List the image models of this server.", NoArguments, read_only=True)
GENERATE = Tool(
    "generate_image",
    "Generate an image",
    "Generate images from a description. Returns them with their addresses and seeds.",
    GenerateArguments,
)
EDIT = Tool(
    "edit_image",
    "Edit an image",
    "Change an image by a description of the result, or only the part that is white in a mask.",
    EditArguments,
)
TOOLS = {tool.name: tool for tool in (GENERATE, EDIT, LIST_MODELS)}
