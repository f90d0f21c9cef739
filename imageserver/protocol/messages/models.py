"""Models and their LoRAs: fetched, loaded, unloaded."""

from imageserver.generation import Lora, ModelInfo
from imageserver.protocol.initial_model import InitialModel
from imageserver.protocol.messages.generations import Failed
from imageserver.protocol.messages.message import Message, NumberedMessage


class LoraRequest(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher to engine: load one LoRA, or unload one by its name, and list those that are loaded then.

    `fetch` is the id on a hub of one that is to be downloaded, and not loaded yet. They are those of `model`; a worker
    leaves it out for the default model.
    """

    load: Lora | None = None
    unload: str | None = None
    fetch: str | None = None
    model: str = ""


class LorasLoaded(NumberedMessage, frozen=True, kw_only=True):
    """Engine to dispatcher to worker: the names of the loaded LoRAs, or why it was not done."""

    names: tuple[str, ...] = ()
    failure: Failed | None = None


class ModelRequest(NumberedMessage, frozen=True, kw_only=True):
    """Worker to dispatcher: load a model, or unload one, and describe it.

    With `default` it becomes the default model; with `fetch` it is downloaded where it has to be. It is a job like any
    other: `credential` owns it, `dialect` names the API that the client speaks. With a `prompt` it is the first part of
    a request that the `client` with that address submits later under the same number; without a name it waits for the
    default model.
    """

    load: str = ""
    unload: str = ""
    default: bool = False
    fetch: bool = False
    credential: str = ""
    dialect: str = "native"
    prompt: str | None = None
    client: str = ""


# The phase of a load whose machine has come and cannot be used: it waits for another one, and has asked for none.
REFUSED = "refused"


class FetchModel(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to engine: download a model's files, answered by ModelFetched."""

    name: str


class ModelFetched(NumberedMessage, frozen=True, kw_only=True):
    """Engine to dispatcher: the files are there, or why they are not."""

    failure: Failed | None = None


class LoadModel(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to engine: load a model from the disk as soon as there is room, answered by ModelsLoaded."""

    name: str


class UnloadModel(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to engine: free the memory of a model, answered by ModelsLoaded."""

    name: str


class ModelsLoaded(NumberedMessage, frozen=True, kw_only=True):
    """Engine to dispatcher: the models that are loaded now, and why it was not done as asked.

    Job 0 answers no request.
    """

    models: tuple[ModelInfo, ...] = ()
    failure: Failed | None = None


class ModelResponse(NumberedMessage, frozen=True, kw_only=True):
    """Dispatcher to worker: the description of the requested model."""

    info: ModelInfo | None = None


class LoadProgress(Message, frozen=True, kw_only=True):
    """Engine to dispatcher: how far a model has come; `fraction` is None while it cannot be known.

    `job` is that of FetchModel or LoadModel, 0 for the model that the engine begins with.
    """

    job: int = 0
    phase: str
    sentence: str
    fraction: float | None = None


class ModelChosen(Message, frozen=True, kw_only=True):
    """Engine to dispatcher: the model that the engine begins with, sent before its weights are read.

    Should it die of them, the next engine chooses no other one because of the memory that the dead one still holds.
    """

    choice: InitialModel


class MachineChoice(Message, frozen=True, kw_only=True):
    """Dispatcher to stand-in: what MODEL=auto has meant on its machine, None if nothing; answers Placed.

    Not told at its start: it may have waited for a machine for days, and another seat may have had this one since.
    """

    choice: InitialModel | None = None


class Ready(Message, frozen=True, kw_only=True):
    """Engine to dispatcher: the model is loaded."""

    info: ModelInfo


class LoadFailed(Message, frozen=True, kw_only=True):
    """Engine to dispatcher: the model cannot be loaded; trying again would not help."""

    sentence: str


# What the engine reports of its models.
ModelReport = LoadProgress | ModelChosen | Ready | LoadFailed | ModelsLoaded | ModelFetched
