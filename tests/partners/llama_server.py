"""A real inference server on the loopback interface, with a tiny model of random weights."""

import subprocess
from pathlib import Path

import httpx
from processes import free_port, until

HERE = Path(__file__).resolve().parent
MODEL = "tiny-random"
KEY = "sk-of-the-machine"
START_PATIENCE_S = 60.0
STOP_PATIENCE_S = 10.0


class LlamaServer:
    """`python -m llama_cpp.server` of an environment. It keeps its port over restarts."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._python = python
        self._model = folder / "tiny.gguf"
        self._log = folder / "llama.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run([python, HERE / "tiny_model.py", self._model], check=True)

    @property
    def url(self) -> str:
        """What a partner registers."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def model_bytes(self) -> int:
        """The size of the model's file."""
        return self._model.stat().st_size

    def start(self) -> None:
        """Start it and wait until it lists its model."""
        with self._log.open("ab") as log:
            self._process = process = subprocess.Popen(
                [
                    *(self._python, "-m", "llama_cpp.server", "--model", self._model),
                    *("--model_alias", MODEL, "--host", "127.0.0.1", "--port", str(self.port)),
                    *("--api_key", KEY, "--n_ctx", "4096", "--n_threads", "1", "--n_threads_batch", "1"),
                ],
                stdout=log,
                stderr=log,
            )

        def answers() -> bool:
            assert process.poll() is None, f"the server ended\n{self._log.read_text(errors='replace')}"
            try:
                answer = httpx.get(f"{self.url}/models", headers={"Authorization": f"Bearer {KEY}"})
            except httpx.TransportError:
                return False
            return answer.status_code == 200

        until(answers, patience_s=START_PATIENCE_S, what=f"the inference server on port {self.port}")

    def kill(self) -> None:
        """SIGKILL: the machine is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_PATIENCE_S)
            self._process = None
