"""Holds request bodies against the official types of `openai`, `anthropic` and `ollama`.

    check.py FOLDER

A body is a file `DIALECT.PROVIDER.NAME.json`. It must be what the types say, and hold no member that they do not know,
but for those that its provider adds to the dialect: see EXTRAS. Prints each breach, and ends with 1 if there is one.
"""

import functools
import json
import pathlib
import sys
import typing

import typing_extensions
from anthropic.types import message_create_params as messages
from ollama import _types as ollama
from openai.types.chat import completion_create_params as chat
from openai.types.responses import response_create_params as responses
from pydantic import BaseModel, TypeAdapter, ValidationError

TYPES = {
    "chat": (chat.CompletionCreateParamsStreaming, chat.CompletionCreateParamsNonStreaming),
    "messages": (messages.MessageCreateParamsStreaming, messages.MessageCreateParamsNonStreaming),
    "responses": (responses.ResponseCreateParamsStreaming, responses.ResponseCreateParamsNonStreaming),
    "ollama": (ollama.ChatRequest, ollama.ChatRequest),
}

# What providers of a dialect take beyond the official types, by their own pages.
EXTRAS = {
    # The newest models refuse both, so the types have dropped them; older ones take them.
    "anthropic": {"temperature", "top_p"},
    "deepseek": {"thinking", "reasoning_content"},
    "moonshot": {"thinking", "reasoning_content"},
    "gemini": {"extra_content"},
    "mistral": {"random_seed", "prefix"},
    "openrouter": {"reasoning", "reasoning_details", "cache_control"},
    # Of its own interface; its package has no members for them.
    "ollama": {"truncate", "shift"},
}

# What a member may be called so that its contents are somebody's own: schemas, arguments.
FREE = {"parameters", "input_schema", "input", "metadata", "extra_content", "reasoning_details", "reasoning"}


def is_model(kind):
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def members_of(case):
    if is_model(case):
        return {field.alias or name: field.annotation for name, field in case.model_fields.items()}
    return typing_extensions.get_type_hints(case)


def cases_of(kind):
    """The typed dictionaries or models that a value of this type may be."""
    if typing_extensions.is_typeddict(kind) or is_model(kind):
        return [kind]
    if isinstance(kind, typing_extensions.TypeAliasType):
        return cases_of(kind.__value__)
    cases = []
    if typing.get_origin(kind) is typing.Literal:
        return cases
    for part in typing.get_args(kind):
        cases += cases_of(part)
    return cases


def says(case, value):
    """The dictionary is that case: its literals are the value's."""
    for name, kind in members_of(case).items():
        if typing.get_origin(kind) is typing.Literal and name in value:
            if value[name] not in typing.get_args(kind):
                return False
    return True


def unknown_in(value, kinds, extras, path):
    """Members of a value that none of the types has."""
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from unknown_in(one, kinds, extras, f"{path}[{number}]")
        return
    if not isinstance(value, dict):
        return
    cases = [case for kind in kinds for case in cases_of(kind) if says(case, value)]
    if not cases:
        return
    hints = {}
    for case in cases:
        for name, kind in members_of(case).items():
            hints.setdefault(name, []).append(kind)
    for name, member in value.items():
        if name not in hints:
            if name not in extras:
                yield f"{path}.{name} is unknown"
        elif name not in FREE:
            yield from unknown_in(member, hints[name], extras, f"{path}.{name}")


@functools.cache
def adapter_of(kind):
    return TypeAdapter(kind)


def consume(value):
    """Looks at all of a value: lists are checked only as they are gone through."""
    if isinstance(value, dict):
        value = value.values()
    if not isinstance(value, (str, bytes)) and hasattr(value, "__iter__"):
        for one in value:
            consume(one)


def problems_of(file):
    dialect, provider, *_ = file.name.split(".")
    body = json.loads(file.read_text())
    streamed, whole = TYPES[dialect]
    kind = streamed if body.get("stream") else whole
    checked = [(kind, body)]
    if dialect == "ollama":
        # There any object may stand for a message; an image is a text, which the package makes of files.
        said = [{name: one for name, one in message.items() if name != "images"} for message in body["messages"]]
        checked += [(ollama.Message, message) for message in said]
    for part_kind, part in checked:
        try:
            consume(adapter_of(part_kind).validate_python(part))
        except ValidationError as error:
            for one in error.errors(include_url=False, include_input=False)[:5]:
                yield f"{one['loc']}: {one['msg']}"
    yield from unknown_in(body, [kind], EXTRAS.get(provider, set()), "body")


def main(folder):
    files = sorted(pathlib.Path(folder).glob("*.json"))
    found = [(file, problem) for file in files for problem in problems_of(file)]
    for file, problem in found:
        print(f"{file.name}: {problem}")
    print(f"{len(files)} bodies, {len(found)} problems")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
