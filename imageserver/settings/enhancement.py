"""Who writes better prompts for requests that send `enhance`."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from imageserver.web_addresses import checked_public_url


class EnhancementSettings(BaseModel):
    """Who writes better prompts for requests that send `enhance`."""

    enhance_url: Annotated[str, AfterValidator(checked_public_url)] = Field(
        "",
        description="Base URL of an OpenAI-style API, such as http://127.0.0.1:11434/v1, whose chat completions write "
        "the prompts of requests with enhance, which are sent to it; empty leaves that to the model's own text "
        "encoder, where it can.",
    )
    enhance_key: SecretStr | None = Field(None, description="Key that ENHANCE_URL is sent as a bearer token.")
    enhance_model: str = Field("", description="Model that ENHANCE_URL is asked for; empty leaves the choice to it.")
