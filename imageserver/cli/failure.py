"""How a command ends when it cannot do what it was asked for: one sentence, and an exit status."""

FAILED, WRONG_USAGE, INTERRUPTED, NO_READER = 1, 2, 130, 141


class CommandFailed(Exception):
    """The command has failed; `code` is a stable name for programs, that of the server's error where it has one."""

    def __init__(self, sentence: str, code: str = "failed", *, status: int = FAILED) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code
        self.status = status
