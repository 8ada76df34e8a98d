"""Chat requests as these tests send them, and what an answer must not hold."""

from typing import Any

from .gateway import PROMPT_MARK

# What the upstream says of its own account, of money and of its keys.
UPSTREAM_WORDS = (
    "user_id",
    "sk-or-",
    "cost_details",
    "upstream_inference",
    "openrouter.ai",
    "is_byok",
    "__cf_bm",
    "cf-ray",
)


def messages(text: str = "Say something.") -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"{PROMPT_MARK}: {text}"}]


def chat(model: str = "sim/small", sim: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Keyword arguments for `chat.completions.create`; `sim` is what is asked of the simulator."""
    request: dict[str, Any] = {"model": model, "messages": messages(), "max_tokens": 256} | fields
    if sim is not None:
        request["extra_body"] = request.get("extra_body", {}) | {"x_sim": sim}
    return request


def body(model: str = "sim/small", sim: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The same as a JSON body."""
    request = chat(model, sim, **fields)
    return request | request.pop("extra_body", {})


def assert_says_nothing_of_the_upstream(text: str) -> None:
    lowered = text.lower()
    found = [word for word in UPSTREAM_WORDS if word in lowered]
    assert not found, (found, text)
