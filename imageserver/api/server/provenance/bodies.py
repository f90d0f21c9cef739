"""The bodies and responses of `/v1/verify` and `/v1/replay`."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    # It imports c2pa, which need not be installed.
    from imageserver.imaging.provenance.manifests.reading import Manifest


class ImageBody(BaseModel, strict=True, extra="forbid"):
    """An image whose origin is in question."""

    image: str = Field(description="The image file: base64, a data URL or, if allowed, a web address.")


class ManifestReport(BaseModel):
    """The C2PA manifest of an image, whoever signed it."""

    valid: bool = Field(
        description="Whether C2PA accepts it: signature, contents, and a certificate that is valid now."
    )
    changed: bool = Field(description="Whether the image or the manifest was changed after it was signed.")
    trusted: bool = Field(description="Whether its certificate has the same issuer as C2PA_CERT of this server.")
    signer: str | None = Field(description="The name in its certificate.")
    generator: str | None = Field(description="The program that wrote it, with its version.")
    problems: list[str] = Field(
        description="C2PA's codes of what is wrong with it; unreadable, or too_large or "
        "compressed for one that is not read."
    )

    @classmethod
    def of(cls, manifest: "Manifest") -> "ManifestReport":
        return cls(
            valid=manifest.valid,
            changed=manifest.changed,
            trusted=manifest.trusted,
            signer=manifest.signer,
            generator=manifest.generator,
            problems=list(manifest.problems),
        )


class VerifyResponse(BaseModel):
    """What the seal of an image and its C2PA manifest prove; null is unknown."""

    made_here: bool | None = Field(description="Whether this server wrote the file; null where nothing proves it.")
    unchanged: bool | None = Field(
        description="Whether every byte is as it was written; null without a seal of ours, or in doubt."
    )
    settings: dict[str, Any] | None = Field(
        description="The body of POST /generate that made it, null unless this server wrote it."
    )
    inputs: list[str] = Field(description="Fields of the images that were sent with the request, which are not kept.")
    model: str | None = Field(description="The model, null unless this server wrote the settings.")
    version: str | None = Field(description="The version of this server that wrote it.")
    reason: str = Field(description="One sentence for people.")
    manifest: ManifestReport | None = Field(
        description="Its C2PA manifest; null without one, and where the extra c2pa is not installed."
    )


class ReplayResponse(BaseModel):
    """An image that was generated again, compared with the one that was sent."""

    equal: bool = Field(description="Whether every pixel is the same.")
    same_size: bool
    deterministic: bool = Field(description="Whether the request asks for the same pixels whatever runs beside it.")
    differing_pixels: float = Field(description="Share of the pixels that differ, 0 to 1.")
    largest_difference: int = Field(description="The largest difference of a colour, 0 to 255.")
    differs_within: list[int] | None = Field(description="Left, top, right and bottom of what differs, in pixels.")
    settings: dict[str, Any] = Field(description="The body of POST /generate that was run.")
    seed: int
    model: str | None
    inference_time: float
    request_id: int
    warnings: list[str]
