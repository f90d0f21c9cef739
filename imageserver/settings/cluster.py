"""Engines on other machines: where the cluster is, and how the machines of it reach each other."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from imageserver.web_addresses import checked_cluster


class ClusterSettings(BaseModel):
    """Engines on other machines: where the cluster is, and how the machines of it reach each other."""

    cluster: Annotated[str, AfterValidator(checked_cluster)] = Field(
        "",
        description="head starts the head of a Ray cluster whose machines offer engines; HOST:PORT uses the cluster "
        "with that head; empty uses this machine alone.",
    )
    min_engines: int = Field(
        0, ge=0, le=1000, description="Engines on other machines that are always asked for, whether offered or not."
    )
    max_engines: int = Field(
        0, ge=0, le=1000, description="Maximum number of engines on other machines; 0 uses all that are offered."
    )
    scale_up_wait: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Expected seconds of waiting above which another engine is asked for, up to MAX_ENGINES; idle ones "
        "are given back; 0 asks for none and uses those that are offered.",
    )
    cluster_token: SecretStr | None = Field(
        None, description="Secret that every machine of the cluster must have; empty lets CLUSTER=head make one."
    )
    cluster_port: int = Field(6379, ge=1, le=65535, description="TCP port of the head that CLUSTER=head starts.")
    cluster_node_port: int = Field(
        6380,
        ge=0,
        le=65000,
        description="First of the 46 TCP ports that this machine's part of the cluster uses; 0 lets Ray choose them.",
    )
    cluster_address: str = Field(
        "", description="Address of this machine as the other machines of the cluster reach it; empty finds it."
    )
