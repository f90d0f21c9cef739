"""What clients of the ControlNet extension read before they send units: models, preprocessors and settings.

Source: sd-webui-controlnet 1.1.455, `scripts/api.py`.
"""

from typing import Any

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, Field

from imageserver.api.dialects.automatic1111.controlnet.units import MODULES, NO_MODULE
from imageserver.api.operations import documented
from imageserver.api.request_context import services
from imageserver.generation import MAX_CONTROLS

blueprint = Blueprint("controlnet", __name__)

VERSION = 3
ALL_TYPES = "All"
NO_MODEL = "None"


class VersionResponse(BaseModel):
    """The version of the extension's API that this one follows."""

    version: int


class ModelListResponse(BaseModel):
    """The names of ControlNets, to be used as `model` of a unit."""

    model_list: list[str]


class ModuleListResponse(BaseModel):
    """The preprocessors that a unit may name as `module`, with their sliders."""

    module_list: list[str]
    module_detail: dict[str, Any]


class ControlType(BaseModel):
    """What fits a kind of control."""

    module_list: list[str]
    model_list: list[str]
    default_option: str
    default_model: str


class ControlTypesResponse(BaseModel):
    """The kinds of control by their names."""

    control_types: dict[str, ControlType]


class SettingsResponse(BaseModel):
    """How many units a request may have."""

    control_net_unit_count: int = Field(description="Units beyond these are ignored with a warning.")


@blueprint.get("/controlnet/version")
@documented(response=VersionResponse)
def version() -> Response:
    """Return the version of the ControlNet extension's API."""
    return jsonify(VersionResponse(version=VERSION).model_dump())


@blueprint.get("/controlnet/model_list")
@documented(response=ModelListResponse)
def model_list() -> Response:
    """List the server's ControlNets (CONTROLNET)."""
    return jsonify(ModelListResponse(model_list=list(services().settings.controlnet_names)).model_dump())


@blueprint.get("/controlnet/module_list")
@documented(response=ModuleListResponse)
def module_list() -> Response:
    """List the preprocessors."""
    details = {name: {"model_free": False, "sliders": []} for name in MODULES}
    return jsonify(ModuleListResponse(module_list=list(MODULES), module_detail=details).model_dump())


@blueprint.get("/controlnet/control_types")
@documented(response=ControlTypesResponse)
def control_types() -> Response:
    """List the kinds of control: one, with every preprocessor and ControlNet."""
    models = services().settings.controlnet_names
    everything = ControlType(
        module_list=list(MODULES),
        model_list=[NO_MODEL, *models],
        default_option=NO_MODULE[1],
        default_model=models[0] if models else NO_MODEL,
    )
    return jsonify(ControlTypesResponse(control_types={ALL_TYPES: everything}).model_dump())


@blueprint.get("/controlnet/settings")
@documented(response=SettingsResponse)
def settings() -> Response:
    """Return how many units a request may have."""
    return jsonify(SettingsResponse(control_net_unit_count=MAX_CONTROLS).model_dump())
