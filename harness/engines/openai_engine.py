"""The engine for OpenAI-compatible servers, in practice `vllm serve`, one or a fleet of equal ones.

Prompts go out as token ids wherever a tokenizer can be had: the checkpoint's, or the server's own through
`/tokenize`. Only servers that have neither get chat messages, and `info().options["prompts"]` says so.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from harness.data.tasks import Conversation, Message, as_text, as_user
from harness.engines.answering import Answering
from harness.engines.background import in_background
from harness.engines.base import (
    REMARKS,
    Capabilities,
    EngineInfo,
    Generation,
    GenerationRequest,
    SamplingParams,
    ScoreRequest,
    TokenScores,
    Unanswered,
    UnansweredError,
)
from harness.engines.chat_template import FIXED_DATE, require_told_apart
from harness.engines.checkpoint import Checkpoint, find_tokenizer, generation_stop_ids, has_weights
from harness.engines.config import EngineConfig
from harness.engines.dialect import Dialect
from harness.engines.http_exchange import (
    CONNECT_SECONDS,
    REPLY_BYTES,
    ReplyError,
    let_streams_close,
    shown,
)
from harness.engines.http_fleet import Call, Fleet, SetAsideError
from harness.engines.limits import answer_limit, check_prompts, shortest
from harness.engines.openai_probe import FleetInfo, chat_body, headers, probe, server_root
from harness.engines.openai_replies import (
    ending_of,
    only_choice,
    reasoning_of,
    scores_of,
    text_of,
    token_counts,
    token_ids,
    tokens_of,
)
from harness.engines.tokenizer import ChatTokenizer
from harness.engines.zoo import resolved
from harness.errors import EngineUnavailableError, HarnessError
from harness.retrying import RetryPolicy

PromptMode = Literal["token ids", "token ids from the server", "chat messages"]
# A text whose tokens betray a tokenizer that isn't the server's.
TOKENIZER_PROBE = 'Rank: {"ranking": [3, 1, 2]} crème 漢字 <|im_start|>'
# vLLM takes these; without them a server may follow the checkpoint's generation_config.json.
NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
LOGPROB_BYTES = 256
"""Most that a token's logprob takes in a reply, its spelling included."""
SMALL_CONVERSATION = (Message(role="user", content="Hello"),)
SMALL_TOKENS = 8
"""Of a prompt, for a small request of the same kind."""
Result = TypeVar("Result")


class OpenAIEngine:
    """Draws and scores completions over HTTP."""

    def __init__(self, config: EngineConfig) -> None:
        """Check the addresses; nothing is asked yet.

        Raises:
            EngineUnavailableError: httpx isn't installed.
            HarnessError: no address, or one that can't be used.
        """
        try:
            import httpx  # noqa: F401
        except ImportError as error:
            raise EngineUnavailableError(
                "the openai engine needs httpx; run: pip install 'format-safety-harness[openai]'"
            ) from error
        if not config.base_urls:
            raise HarnessError("the openai engine needs a server; give `base_urls=http://HOST:PORT/v1`")
        for url in config.base_urls:
            server_root(url)
        self._config = config
        self._dialect = Dialect()
        self._own_defaults = False
        self._unknown_reasons: set[str] = set()
        self._answering = Answering()
        self._asked_of_template: dict[str, Any] = {}

    @property
    def capabilities(self) -> Capabilities:
        """A server has a largest top-k of its own, 20 by default, and generates a token as it scores."""
        return Capabilities(score_room=1, defuses=self._folder is not None)

    @property
    def tokenizer(self) -> ChatTokenizer | None:
        """The served checkpoint's, where it is on this machine."""
        return self._tokenizer

    @cached_property
    def _fleet(self) -> FleetInfo:
        return probe(self._config)

    @cached_property
    def _folder(self) -> Path | None:
        """Where the tokenizer is on this machine."""
        if self._config.tokenizer is not None:
            return find_tokenizer(self._config.tokenizer)
        folder = resolved(self._config.ckpt or "")
        named = self._config.ckpt is not None and (folder / "tokenizer_config.json").is_file()
        return folder if named else None

    @cached_property
    def _tokenizer(self) -> ChatTokenizer | None:
        folder = self._folder
        return None if folder is None else ChatTokenizer(folder, self._config.trust_remote_code)

    @cached_property
    def _checkpoint(self) -> Checkpoint | None:
        """The checkpoint the user says is served, where it lies on this machine."""
        folder = resolved(self._config.ckpt or "")
        if self._config.ckpt is None or not has_weights(folder):
            return None
        return Checkpoint(self._config.ckpt, folder)

    @property
    def _mode(self) -> PromptMode:
        if self._tokenizer is not None:
            return "token ids"
        return "token ids from the server" if self._fleet.renders else "chat messages"

    def info(self) -> EngineInfo:
        """Describe the servers; asks them the first time.

        Raises:
            EngineUnavailableError: none answers.
        """
        fleet, tokenizer, checkpoint = self._fleet, self._tokenizer, self._checkpoint
        return EngineInfo(
            name="openai",
            version=f"vllm {fleet.version}" if fleet.version else "unknown server",
            checkpoint=self._config.ckpt or fleet.root or fleet.model,
            weights_sha256=checkpoint.sha256 if checkpoint else None,
            chat_template_sha256=tokenizer.chat_template_sha256 if tokenizer else None,
            tokenizer_sha256=tokenizer.sha256 if tokenizer else None,
            context_length=self._context_length(),
            parameters=checkpoint.parameters if checkpoint else None,
            options={
                "base_urls": list(fleet.urls),
                "unreachable": list(fleet.unreachable),
                "served_model": fleet.model,
                "served_root": fleet.root,
                "prompts": self._mode,
                "concurrency": self._config.concurrency,
                **self._described(),
                "stop_token_ids": self._stop_token_ids(),
                REMARKS: self._remarks(),
            },
        )

    def encode(
        self, prompts: Sequence[Conversation], arguments: Mapping[str, Any] | None = None
    ) -> list[tuple[int, ...]]:
        """Token ids of each conversation; empty where neither side can tokenize."""
        self._asked_of_template = dict(arguments or {})
        if self._tokenizer is not None:
            return self._tokenizer.encode(prompts, arguments)
        if not self._fleet.renders:
            return [() for _ in prompts]
        rows: list[tuple[int, ...]] = [()] * len(prompts)
        tokenized = in_background(
            enumerate(prompts), partial(self._opened, self._tokenize), self._config.concurrency
        )
        for index, ids in tokenized:
            rows[index] = ids
        require_told_apart([as_text(turns) for turns in prompts], rows, self._fleet.model)
        return rows

    def start(self) -> None:
        """Make sure a server answers and reads text as the local tokenizer does.

        Raises:
            EngineUnavailableError: none answers, or the tokenizers differ.
        """
        tokenizer = self._tokenizer
        if tokenizer is None or not self._fleet.tokenizes:
            return
        [theirs] = in_background([TOKENIZER_PROBE], partial(self._opened, self._tokenize_plain), 1)
        ours = tokenizer.tokenizer(TOKENIZER_PROBE, add_special_tokens=False)["input_ids"]
        if theirs != ours:
            raise EngineUnavailableError(
                f"the tokenizer in {tokenizer.folder} is not that of {self._fleet.model}; "
                "give the served checkpoint as `ckpt=` or `tokenizer=`"
            )

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        done: Collection[str] = frozenset(),
    ) -> Iterator[Generation]:
        """Yield completions as servers finish them.

        Raises:
            DataError: a prompt doesn't fit the context.
            RefusedError: servers refuse whatever they are asked.
            IncompleteError: no server has answered for too long.
            UnansweredError: at the end, of requests that fail though others are answered.
        """
        if self._mode != "chat messages":
            check_prompts(requests, self._context_length())
        finished = set(done)
        return _but_for_unanswered(
            in_background(
                (request for request in requests if request.key not in finished),
                partial(self._opened, partial(self._complete, sampling)),
                self._config.concurrency,
            )
        )

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, done: Collection[str] = frozenset()
    ) -> Iterator[TokenScores]:
        """Yield raw logprobs of given completions; vLLM servers only, `top_k` ≤ their `--max-logprobs`.

        Raises:
            EngineUnavailableError: another kind of server.
        """
        if self._fleet.version is None:
            raise EngineUnavailableError(
                "only vLLM servers can score given completions; use `engine=vllm` or hf"
            )
        finished = set(done)
        return _but_for_unanswered(
            in_background(
                (request for request in requests if request.key not in finished),
                partial(self._opened, partial(self._score, top_k)),
                self._config.concurrency,
            )
        )

    def close(self) -> None:
        """Nothing is held open between calls."""

    @asynccontextmanager
    async def _opened(
        self, call: Callable[..., Awaitable[Any]]
    ) -> AsyncIterator[Callable[[Any], Awaitable[Any]]]:
        """`call` with a fleet as its first argument, which lives as long as the context."""
        import httpx

        config = self._config
        limits = httpx.Limits(
            max_connections=config.concurrency, max_keepalive_connections=config.concurrency
        )
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)  # The fleet limits the whole request.
        async with httpx.AsyncClient(headers=headers(config), limits=limits, timeout=timeout) as client:
            # No rest of our own choosing outlasts the patience.
            cap = min(20.0, config.retry_seconds / 2)
            policy = RetryPolicy(base=0.5, cap=cap, patience=config.retry_seconds)
            try:
                urls, seconds = self._fleet.urls, config.request_seconds
                yield partial(call, Fleet(urls, client, policy, seconds, config.request_tries))
            finally:
                await let_streams_close()

    async def _tokenize(self, fleet: Fleet, item: tuple[int, Conversation]) -> tuple[int, tuple[int, ...]]:
        index, prompt = item

        def of(turns: Conversation) -> dict[str, Any]:
            return chat_body(self._fleet.model, _written(turns), self._template_arguments())

        small = Call("/tokenize", of(SMALL_CONVERSATION), tokens_of)
        return index, await fleet.post(Call("/tokenize", of(prompt), tokens_of, small))

    async def _tokenize_plain(self, fleet: Fleet, text: str) -> list[int]:
        body = {"model": self._fleet.model, "prompt": text, "add_special_tokens": False}
        return list(await fleet.post(Call("/tokenize", body, tokens_of)))

    async def _complete(
        self, sampling: SamplingParams, fleet: Fleet, request: GenerationRequest
    ) -> Generation | Unanswered:
        limit = answer_limit(len(request.prompt_ids), sampling.max_tokens, self._context_length())
        self._own_defaults |= sampling.temperature > 0 and self._fleet.version is None
        body: dict[str, Any] = {
            "model": self._fleet.model,
            "max_tokens": limit,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": request.seed,
        }
        if request.schema is not None:
            schema = {"name": "answer", "schema": request.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if self._fleet.version is not None:
            body |= NEUTRAL | {"return_token_ids": True, "stop_token_ids": self._stop_token_ids()}
        body = self._dialect.spoken(body)
        if self._mode == "chat messages":
            body["messages"] = _written(request.messages or as_user(request.prompt_text))
            if self._asked_of_template:
                # Servers that know nothing of it say so; nothing of it is sent where nobody asked.
                body["chat_template_kwargs"] = self._template_arguments()
            small = body | {"messages": _written(SMALL_CONVERSATION)}
        else:
            body["prompt"] = list(request.prompt_ids)
            small = body | {"prompt": body["prompt"][:SMALL_TOKENS]}
        path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        read = partial(self._generation, request, limit)
        learnt = self._dialect.learnt
        call = Call(path, body, read, Call(path, small, read, amended=learnt), learnt)
        return await _answered(fleet, request.key, call)

    def _generation(self, request: GenerationRequest, limit: int, answer: dict[str, Any]) -> Generation:
        choice = only_choice(answer)
        reason, unknown = ending_of(choice)
        text = text_of(choice)
        ids = token_ids(choice.get("token_ids") or [])
        if ids and self._tokenizer is not None:
            text = self._tokenizer.decode(ids)
        if unknown is not None and not text.strip():
            raise ReplyError(f"nothing but a finish_reason that nobody knows ({unknown})")
        thoughts = reasoning_of(choice)
        prompt_tokens, made = token_counts(
            answer, limit + len(thoughts.encode(errors="replace")), self._context_length()
        )
        by = None
        if reason != "withheld":  # A filter before the model answers under a name of its own.
            by = self._answering.require_same(self._fleet.model, answer.get("model"))
        if not choice.get("finish_reason") and reason == "stop" and made == limit:
            reason = "length"  # Servers that give no reason can still be seen to have cut an answer off.
        if unknown is not None:
            self._unknown_reasons.add(shown(unknown))
        return Generation(
            key=request.key,
            text=text,
            token_ids=ids,
            finish_reason=reason,
            prompt_tokens=prompt_tokens,
            completion_tokens=made,
            answered_by=by,
            only_reasoning=bool(thoughts.strip()) and not text.strip() and reason != "withheld",
        )

    async def _score(self, top_k: int, fleet: Fleet, request: ScoreRequest) -> TokenScores | Unanswered:
        first = request.prompt_ids[:SMALL_TOKENS], request.completion_ids[:1]
        small = self._scoring(top_k, ScoreRequest(request.key, *first))
        return await _answered(fleet, request.key, replace(self._scoring(top_k, request), small=small))

    def _scoring(self, top_k: int, request: ScoreRequest) -> Call[TokenScores]:
        body: dict[str, Any] = {
            "model": self._fleet.model,
            "prompt": [*request.prompt_ids, *request.completion_ids],
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": top_k,
        }
        most = REPLY_BYTES + len(body["prompt"]) * (top_k + 1) * LOGPROB_BYTES

        def read(answer: dict[str, Any]) -> TokenScores:
            scores = scores_of(request, top_k, answer)
            self._answering.require_same(self._fleet.model, answer.get("model"))
            return scores

        return Call("/v1/completions", body, read, most=most)

    def _remarks(self) -> list[str]:
        """What of the answers, or of how they were asked for, isn't as it would be elsewhere."""
        unknown = [
            f"nobody knows the finish reason {one!r}: taken as stop" for one in sorted(self._unknown_reasons)
        ]
        own = "top_k, min_p and penalties are the server's own defaults: only vLLM can be asked for none"
        told = [*self._dialect.remarks(), *self._answering.remarks(), *unknown]
        return [*([own] if self._own_defaults else []), *told]

    def _described(self) -> dict[str, Any]:
        if self._tokenizer is not None:
            return self._tokenizer.described | {"messages_defused": self._tokenizer.defused}
        return {"chat_template_arguments": self._template_arguments()}

    def _template_arguments(self) -> dict[str, Any]:
        # The template can't be seen from here; one that doesn't know these ignores them.
        return {"enable_thinking": False, "date_string": FIXED_DATE} | self._asked_of_template

    def _stop_token_ids(self) -> list[int]:
        if self._tokenizer is None or self._folder is None:
            return []
        return self._tokenizer.stop_token_ids(generation_stop_ids(self._folder))

    def _context_length(self) -> int | None:
        return shortest(self._config.max_model_len, self._fleet.context_length)


def _written(turns: Conversation) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


async def _answered(fleet: Fleet, key: str, call: Call[Result]) -> Result | Unanswered:
    try:
        return await fleet.post(call)
    except SetAsideError as error:
        return Unanswered(key, error.cause)


def _but_for_unanswered(outcomes: Iterator[Result | Unanswered]) -> Iterator[Result]:
    """What was answered, as it comes.

    Raises:
        UnansweredError: at the end, of what wasn't.
    """
    unanswered = []
    with closing(cast(Generator[Any], outcomes)):
        for one in outcomes:
            if isinstance(one, Unanswered):
                unanswered.append(one)
            else:
                yield one
    if unanswered:
        raise UnansweredError(unanswered)
