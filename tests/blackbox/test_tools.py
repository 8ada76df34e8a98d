"""Tool calls and structured output, through the official SDK."""

import json
from typing import Literal

import openai
import pydantic

from harness.gateway import Account
from harness.money import price_of
from harness.requests import chat
from harness.simulator import Simulator


class Weather(pydantic.BaseModel):
    """The weather at a place."""

    city: str
    days: int
    unit: Literal["celsius", "fahrenheit"]


WEATHER = openai.pydantic_function_tool(Weather, name="get_weather")


def test_a_tool_call(account: Account):
    answer = account.sdk().chat.completions.create(**chat(tools=[WEATHER], tool_choice="required"))
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert call.id
    Weather.model_validate_json(call.function.arguments)


def test_streamed_argument_fragments_make_the_call(account: Account, simulator: Simulator):
    chosen = {"type": "function", "function": {"name": "get_weather"}}
    request = chat(tools=[WEATHER], tool_choice=chosen, sim={"chunks": 8})
    arguments, names, fragments, generation = "", [], 0, ""
    for chunk in account.sdk().chat.completions.create(**request, stream=True):
        generation = chunk.id
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.index == 0
            fragments += 1
            arguments += call.function.arguments or ""
            names += [call.function.name] if call.function.name else []
    assert names == ["get_weather"]
    assert fragments > 2
    Weather.model_validate_json(arguments)
    [event] = account.events()
    assert event.price_nanos == price_of(simulator.generation(generation).cost) > 0


def test_the_stream_helper_parses_tool_arguments(account: Account):
    request = chat(tools=[WEATHER], tool_choice="required", sim={"chunks": 5})
    with account.sdk().chat.completions.stream(**request) as stream:
        final = stream.get_final_completion()
    [call] = final.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather)


def test_a_tool_result_goes_back(account: Account, simulator: Simulator):
    request = chat(tools=[WEATHER], tool_choice="required")
    client = account.sdk()
    message = client.chat.completions.create(**request).choices[0].message
    history = [
        *request["messages"],
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": '{"degrees": 21}'},
    ]
    answer = client.chat.completions.create(**chat(messages=history, tools=[WEATHER]))
    assert answer.choices[0].message.content
    assert simulator.last_body()["messages"] == history


def test_structured_output_is_parsed(account: Account):
    answer = account.sdk().chat.completions.parse(**chat(response_format=Weather))
    assert isinstance(answer.choices[0].message.parsed, Weather)


def test_structured_output_is_parsed_from_a_stream(account: Account):
    with account.sdk().chat.completions.stream(**chat(response_format=Weather)) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Weather)


def test_json_mode(account: Account):
    answer = account.sdk().chat.completions.create(**chat(response_format={"type": "json_object"}))
    assert isinstance(json.loads(answer.choices[0].message.content), dict)
