"""Says one thing as Duragent 0.5's client does: it knows five events and stops at any other.

Usage: chat_v05.py SESSION_URL MESSAGE. Every block of fields is an event to it, an empty one too.
It prints the text of the reply; what it is asked to approve it approves, and then prints what the
answer to that says.
"""

import json
import sys
import urllib.request

session, message = sys.argv[1:3]


def post(path, body):
    request = urllib.request.Request(
        session + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return urllib.request.urlopen(request, timeout=60)


def events(stream):
    """Each block's event and data; lines that begin with a colon are comments."""
    fields = {}
    for line in stream:
        line = line.decode().rstrip("\r\n")
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif not line and fields:
            yield fields.get("event", "message"), fields.get("data", "")
            fields = {}


def chat():
    for event, data in events(post("/stream", {"content": message})):
        match event:
            case "start":
                pass
            case "token":
                print(json.loads(data)["content"], end="")
            case "approval_required":
                return approved(json.loads(data))
            case "done":
                return
            case "error":
                sys.exit(json.loads(data)["message"])
            case _:
                sys.exit(f"Unknown event type: {event}")
    sys.exit("the stream ended without `done`")


def approved(asked):
    """Says yes for as long as it is asked."""
    while True:
        decision = {"call_id": asked["call_id"], "command": asked["command"], "decision": "allow_once"}
        answer = json.load(post("/approve", decision))
        if answer["status"] != "pending_approval":
            return print(answer["content"], end="")
        asked = answer


chat()
