"""A chat model on this machine that answers in an endpoint's place: no server, no key, nothing to pay.

Small models seldom keep to JSON. So the answer is begun for them with the form that the prompt asks for, ends with the
first mark that closes it, and what the model adds is the name or the numbers alone. Whether a name is any good, scores
decide, as for every other labeller.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

import torch

from clew.errors import InputError
from clew.labels.endpoint import CallError, Messages, Spent, added
from clew.labels.endpoint_config import LOCAL, EndpointConfig
from clew.labels.store import Answer
from clew.subject.subject import Subject
from clew.subject.text import needed

ANSWER_TOKENS = 40  # a name of twelve words, or fifteen numbers
FORMS = (('{"label": "', '"', "}"), ('{"active": [', "]", "}"))
"""How an answer begins, what closes it, and what stands behind that."""


class LocalChat:
    """A model with a chat template, asked one prompt at a time; used in a `with` block as `Endpoint` is.

    InputError for a model without a chat template.
    """

    def __init__(self, subject: Subject, *, name: str = "", answer_tokens: int = ANSWER_TOKENS) -> None:
        if not getattr(subject.tokenizer, "chat_template", None):
            raise InputError(
                f"{subject.name} has no chat template, so it answers no questions: choose a model tuned for "
                "instructions, for example smollm2"
            )
        self.subject = subject
        self.config = EndpointConfig(
            endpoint=LOCAL, model=name or subject.name, answer_tokens=answer_tokens, concurrency=1, retries=0
        )
        self._lock, self._spent = threading.Lock(), Spent()

    def __enter__(self) -> LocalChat:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    @property
    def limit(self) -> str:
        """What is said of an answer that was cut."""
        return f": it was cut at {self.config.answer_tokens} tokens, give it more with --answer-tokens"

    @property
    def spent(self) -> Spent:
        """Calls and tokens so far; they cost no money."""
        return self._spent

    def cost(self, messages: Messages) -> Spent:
        """The most tokens that one call takes; of a prompt that does not fit, the whole context."""
        try:
            size = len(self._ids(messages, ""))
        except CallError:
            size = self.subject.context_length
        return Spent(1, size, self.config.answer_tokens)

    def ask(self, messages: Messages) -> Answer:
        """The model's likeliest answer. CallError when the prompt does not fit into its context."""
        begin, close, end = next((form for form in FORMS if form[0][:-1] in messages[0]["content"]), ("", "", ""))
        with self._lock:
            ids = self._ids(messages, begin)
            room = self.subject.context_length - len(ids)
            if room < self.config.answer_tokens:
                raise CallError(
                    f"the prompt has {len(ids)} tokens and the answer {self.config.answer_tokens}, more than the "
                    f"{self.subject.context_length} of {self.subject.name}"
                )
            said, cut = self._continued(ids, close)
            self._spent = added(self._spent, Spent(1, len(ids), len(said)))
        text = needed(self.subject.tokenizer, self.subject.name).decode(said, skip_special_tokens=True)
        head, closed, _ = text.partition(close) if close else (text, "", "")
        return Answer(
            begin + head.rstrip("\\") + (close + end if begin else ""), len(ids), len(said), cut and not closed
        )

    def _ids(self, messages: Messages, begin: str) -> list[int]:
        together = [{"role": "user", "content": "\n\n".join(message["content"] for message in messages)}]
        try:
            ids: list[int] = self._encoded(list(messages)) or self.subject.encode(together).tolist()
        except InputError as error:
            raise CallError(str(error)) from error
        return ids + (self.subject.token_ids(begin) if begin else [])

    def _encoded(self, messages: list[dict[str, str]]) -> list[int]:
        """Nothing where the model's template knows no instructions apart from what a person says."""
        try:
            return list(self.subject.encode(messages).tolist())
        except InputError:
            return []

    @torch.no_grad()
    def _continued(self, ids: list[int], close: str) -> tuple[list[int], bool]:
        """The tokens of the answer, and whether it was cut."""
        model: Any = self.subject.model
        prompt = torch.tensor([ids], device=self.subject.device)
        options: dict[str, Any] = {"tokenizer": self.subject.tokenizer, "stop_strings": [close]} if close else {}
        made = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=self.config.answer_tokens,
            do_sample=False,
            **options,
        )[0, len(ids) :].tolist()
        return made, len(made) >= self.config.answer_tokens
