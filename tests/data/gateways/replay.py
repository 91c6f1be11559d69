#!/usr/bin/env python3
"""Plays a gateway by a transcript: replay.py TRANSCRIPT REPORT.

Lines of a transcript:

    < {…}   the gateway writes this, as it stands; $REQUEST is the last command's id, $Deny what that button brings back
    > {…}   the next command has exactly these keys; "*" is any text, "$" a name for any value
    = …     waits until the last message that was sent has this text, after edits

What may come at any time is answered in between, and held against its shape too: `ping`, `send_typing`, `edit_message`.
What went wrong goes to REPORT, a line each; `done` is its last line where the transcript came to its end.
"""

import json
import re
import sys

SHAPES = {
    "ping": {"request_id": str},
    "send_typing": {"chat_id": str, "duration": int},
    "edit_message": {"request_id": str, "chat_id": str, "message_id": str, "content": str},
}
names = {}
shown = {}
last = {}
edits = 0


def report(text):
    with open(sys.argv[2], "a") as file:
        file.write(text + "\n")


def give_up(text):
    report(text)
    sys.exit(1)


def write(line):
    print(re.sub(r"\$(\w+)", lambda found: names.get(found[1], found[0]), line), flush=True)


def command():
    """The next command that does not come at any time."""
    global edits
    while True:
        line = sys.stdin.readline()
        if not line:
            give_up("the commands ended")
        if not line.startswith('{"type":"') or ": " in re.sub(r'"(\\.|[^"\\])*"', '""', line):
            give_up(f"not written as it always was: {line}")
        found = json.loads(line)
        shape = SHAPES.get(found["type"])
        if shape is None:
            return found
        values = {key: type(value) for key, value in found.items() if key != "type"}
        if values != shape:
            give_up(f"another shape: {line}")
        if found["type"] == "ping":
            pong = {"type": "pong", "request_id": found["request_id"], "uptime_seconds": 1, "connected": True}
            print(json.dumps(pong), flush=True)
        if found["type"] == "edit_message":
            shown[found["message_id"]] = found["content"]
            edits += 1
            if edits == 1:
                # As the platform says it of an edit whose answer was lost.
                words = "Bad Request: message is not modified: specified new message content is exactly the same"
                answer = {"type": "command_error", "code": "edit_failed", "message": words}
            else:
                answer = {"type": "command_ok", "message_id": found["message_id"]}
            print(json.dumps({**answer, "request_id": found["request_id"]}), flush=True)
            return None


def expect(pattern):
    found = command()
    while found is None:
        found = command()
    if found.keys() != pattern.keys():
        give_up(f"expected {pattern}, got {found}")
    for key, value in pattern.items():
        is_any = value == "*" and isinstance(found[key], str)
        if not is_any and value != "$" and found[key] != value:
            give_up(f"expected {pattern}, got {found}")
    names["REQUEST"] = found.get("request_id", "")
    if "inline_keyboard" in found:
        for row in found["inline_keyboard"]["rows"]:
            for button in row:
                names[re.sub(r"\W", "", button["text"])] = button["callback_data"]
                if set(button) != {"text", "callback_data"} or len(button["callback_data"]) > 64:
                    give_up(f"no such button: {button}")
    return found


def main():
    sent = None
    for line in open(sys.argv[1]):
        kind, _, rest = line.rstrip("\n").partition(" ")
        if kind == "<":
            write(rest)
            answer = json.loads(rest) if '"command_ok"' in rest else None
            if answer and sent is not None:
                last["id"] = answer["message_id"]
                shown[last["id"]] = sent
        elif kind == ">":
            if '"shutdown"' in rest:
                report("at the shutdown")
            found = expect(json.loads(rest))
            sent = found.get("content")
        elif kind == "=":
            while shown.get(last["id"]) != rest:
                found = command()
                if found is not None:
                    give_up(f"expected the text {rest!r}, not {found}; shown is {shown}")
    report("done")


main()
