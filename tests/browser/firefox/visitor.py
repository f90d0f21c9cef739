"""Firefox with one page, as a visitor uses it; what the page complains of is kept."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

DRIVER = Path(__file__).with_name("driver.js")
TIMEOUT = 60.0


class FirefoxVisitor:
    """Firefox, whose languages are given in the order that its user prefers; the driver beside this file runs it."""

    def __init__(self, executable: str, languages: str) -> None:
        self._driver = subprocess.Popen(
            ["node", str(DRIVER), executable, languages], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        """End Firefox and its driver."""
        self._driver.communicate(timeout=TIMEOUT)

    def open(self, url: str) -> None:
        """Open an address as somebody who was never there."""
        self._ask("open", url)

    def reload(self) -> None:
        self._ask("reload")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression on the page."""
        return self._ask("evaluate", expression)

    def press(self, role: str, name: str) -> None:
        """Click the element with a role and a name, which may appear a little later."""
        self._ask("press", _selector(role, name))

    def write(self, role: str, name: str, text: str) -> None:
        """Type a text in place of what a field has."""
        self._ask("write", _selector(role, name), text)

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file."""
        self._ask("choose", selector, str(file))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Move the mouse with its button down between two points of the window."""
        self._ask("drag", start, end)

    def complaints(self) -> list[str]:
        """Return the errors and warnings since the page was opened."""
        return list(self._ask("complaints"))

    def wait_for(self, expression: str) -> Any:
        """Return the value of an expression as soon as it is true in JavaScript's sense."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            if value := self.evaluate(expression):
                return value
            time.sleep(0.05)
        raise AssertionError(f"Waited {TIMEOUT:g} s for {expression}; the page says: {self._page_text()}")

    def _page_text(self) -> str:
        return str(self.evaluate("`(${document.visibilityState}) ${document.querySelector('main').innerText}`"))

    def _ask(self, *command: Any) -> Any:
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps(command) + "\n")
        self._driver.stdin.flush()
        answer = json.loads(self._driver.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer.get("result")


def _selector(role: str, name: str) -> str:
    return f'::-p-aria([name="{name}"][role="{role}"])'
